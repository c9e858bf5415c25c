"""Asks a question about a document: ask.py ADDRESS DOCUMENT QUESTION

Needs grpcio, protobuf, and the folder of deploy/make-python-stubs on
PYTHONPATH.
"""
import sys
import grpc
from winnow.v1 import generation_pb2, generation_pb2_grpc

address, document, question = sys.argv[1:]
with grpc.insecure_channel(address) as channel, open(document) as file:
    request = generation_pb2.GenerateRequest(
        context=file.read(), prompt=question, max_tokens=64
    )
    stub = generation_pb2_grpc.GenerationServiceStub(channel)
    for event in stub.Generate(request, timeout=300):
        print(event.token.text + event.finished.text, end="", flush=True)
print()
