add_compile_options(-Wall -Wextra -Wshadow -Wnon-virtual-dtor
                    -Woverloaded-virtual -Wimplicit-fallthrough)
if(WINNOW_WERROR)
  add_compile_options(-Werror)
endif()
