# WINNOW_SANITIZE and WINNOW_FUZZ instrument everything that follows.
set(instrumentation "")
if(WINNOW_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "WINNOW_FUZZ needs -DCMAKE_CXX_COMPILER=clang++-19")
  endif()
  if(WINNOW_SANITIZE)
    message(FATAL_ERROR "WINNOW_FUZZ brings its own WINNOW_SANITIZE")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
  set(instrumentation -fsanitize=address,undefined -fno-sanitize-recover=all)
elseif(WINNOW_SANITIZE STREQUAL "address")
  # The two checks left out take a third of the time that GCC compiles.
  # AddressSanitizer stops where a null pointer is read or written, and the
  # fuzzers, built by Clang, have both.
  set(instrumentation -fsanitize=address,undefined -fno-sanitize=null,vptr
    -fno-sanitize-recover=all)
elseif(WINNOW_SANITIZE STREQUAL "thread")
  set(instrumentation -fsanitize=thread)
elseif(WINNOW_SANITIZE)
  message(FATAL_ERROR "WINNOW_SANITIZE is address or thread")
endif()
if(instrumentation)
  add_compile_options(${instrumentation} -fno-omit-frame-pointer -g1)
  add_compile_definitions(_GLIBCXX_ASSERTIONS)
  add_link_options(${instrumentation})
endif()

# winnow_uninstrumented_for_threads(TARGET SOURCE...)
#
# Under ThreadSanitizer compiles the sources of TARGET without it.
function(winnow_uninstrumented_for_threads target)
  if(WINNOW_SANITIZE STREQUAL "thread")
    # Precompiled headers are instrumented.
    set_source_files_properties(${ARGN} TARGET_DIRECTORY ${target}
      PROPERTIES COMPILE_OPTIONS "-O2;-fno-sanitize=thread"
      SKIP_PRECOMPILE_HEADERS ON)
  endif()
endfunction()
