# Writes a source with the bytes of the profiles, for BuiltInProfileTexts():
#
#   cmake -DOUTPUT=FILE -DPROFILES="A.json;B.json" -P embed_profiles.cmake
#
# Byte arrays, not string literals: those have a length limit.
set(arrays "")
set(entries "")
set(index 0)
foreach(profile IN LISTS PROFILES)
  file(READ "${profile}" hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${hex}")
  string(APPEND arrays "constexpr char kProfile${index}[] = {${bytes}};\n")
  string(APPEND entries "      {kProfile${index}, sizeof(kProfile${index})},\n")
  math(EXPR index "${index} + 1")
endforeach()
file(WRITE "${OUTPUT}" "// Made by cache_store/plan/embed_profiles.cmake.
#include \"cache_store/plan/builtin_profiles.h\"

namespace winnow {
namespace {
${arrays}
}  // namespace

std::vector<std::string_view> BuiltInProfileTexts() {
  return {
${entries}  };
}

}  // namespace winnow
")
