# What makes a build from nothing short; -DWINNOW_FAST_BUILD=OFF compiles every
# source by itself, as .ci/lint does for clang-tidy and as it must compile.
option(WINNOW_FAST_BUILD "Parse shared headers once (GCC only)" ON)
set(fast_build OFF)
if(WINNOW_FAST_BUILD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(fast_build ON)
  add_compile_options(-fpch-preprocess) # for ccache
endif()

# winnow_header_set(NAME LIBRARIES LIBRARY... HEADERS HEADER...)
#
# Names headers to precompile, and the libraries whose they are.  Only headers
# from outside and generated ones: one that changes recompiles all.
function(winnow_header_set name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "LIBRARIES;HEADERS")
  if(fast_build)
    set(source ${CMAKE_CURRENT_BINARY_DIR}/precompiled_${name}.cc)
    file(CONFIGURE OUTPUT ${source} CONTENT "")
    # A target of its own: who reuses another's must wait until that is linked.
    add_library(precompiled_${name} OBJECT EXCLUDE_FROM_ALL ${source})
    target_link_libraries(precompiled_${name} PRIVATE ${arg_LIBRARIES})
    target_precompile_headers(precompiled_${name} PRIVATE ${arg_HEADERS})
  endif()
endfunction()

# winnow_precompiled(NAME TARGET...)
#
# Compiles the sources of each TARGET with the headers of set NAME parsed.
function(winnow_precompiled name)
  if(fast_build)
    foreach(target IN LISTS ARGN)
      target_precompile_headers(${target} REUSE_FROM precompiled_${name})
    endforeach()
  endif()
endfunction()

# winnow_compiled_together(TARGET FOLDER...)
#
# Compiles the sources of TARGET in each FOLDER as one.  For those that a
# library which is all headers (CLI11) makes slow, one by one.
function(winnow_compiled_together target)
  if(fast_build)
    set_target_properties(${target} PROPERTIES
      UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
    get_target_property(sources ${target} SOURCES)
    foreach(folder IN LISTS ARGN)
      set(together ${sources})
      list(FILTER together INCLUDE REGEX "^${folder}/")
      set_source_files_properties(${together} PROPERTIES UNITY_GROUP ${folder})
    endforeach()
  endif()
endfunction()
