#pragma once

namespace winnow {

// Tells malloc to keep blocks of megabytes for the next one who asks: gRPC
// allocates and frees one for every frame that it receives.  By default glibc
// maps and unmaps it each time, and clearing the fresh pages takes a third of
// the time of a pull.  Up to 64 MiB at the top of the heap stay with the
// process.
//
// For programs that move segments; once, before any thread is begun.
void KeepLargeBlocks();

}  // namespace winnow
