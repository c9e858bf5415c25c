# winnow_python_test(FILE [TIMEOUT SECONDS] [PROCESSORS N] [LONG_CLASS CLASS])
#
# Registers every test method of a Python unittest file as a test of its own:
# class DemoTest, method testFullAnswers gives DemoTest.FullAnswers.  All get
# the label "program", as they run the built one, those of LONG_CLASS "long" too.
# Debian's packages (grpcio, xxhash) are Debian's own Python's.
if(NOT Python3_EXECUTABLE AND EXISTS /usr/bin/python3)
  set(Python3_EXECUTABLE /usr/bin/python3)
endif()
find_package(Python3 REQUIRED COMPONENTS Interpreter)

function(winnow_python_test file)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT;PROCESSORS;LONG_CLASS" "")
  set(path ${CMAKE_CURRENT_SOURCE_DIR}/${file})
  set(environment "WINNOW_BINARY=$<TARGET_FILE:winnow>"
    "PYTHONPATH=${CMAKE_SOURCE_DIR}/tests/e2e"
    "WINNOW_PYTHON_STUBS=${CMAKE_BINARY_DIR}/python")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
  file(STRINGS ${path} lines REGEX "^(class|    def test)")
  foreach(line IN LISTS lines)
    if(line MATCHES "^class ([A-Za-z0-9]+)")
      set(class ${CMAKE_MATCH_1})
    elseif(line MATCHES "def test([A-Za-z0-9]+)")
      set(test ${class}.${CMAKE_MATCH_1})
      add_test(NAME ${test} COMMAND Python3::Interpreter -B ${path}
        ${class}.test${CMAKE_MATCH_1})
      set_tests_properties(${test} PROPERTIES
        ENVIRONMENT "${environment}" LABELS program)
      if(arg_TIMEOUT)
        set_tests_properties(${test} PROPERTIES TIMEOUT ${arg_TIMEOUT})
      endif()
      if(arg_PROCESSORS)
        set_tests_properties(${test} PROPERTIES PROCESSORS ${arg_PROCESSORS})
      endif()
      if(class STREQUAL "${arg_LONG_CLASS}")
        set_property(TEST ${test} APPEND PROPERTY LABELS long)
      endif()
    endif()
  endforeach()
endfunction()
