# moxie_embed(TARGET NAME FILES...): the files become part of TARGET, read by NAME(file name) -> std::string_view, which the
# target declares itself. Run as a script (-P) by the build to write the source, so that an edit rebuilds what it must.
if(CMAKE_SCRIPT_MODE_FILE)
  set(arrays "")
  set(lookups "")
  set(number 0)
  foreach(path ${FILES})
    file(READ ${path} hex HEX)
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
    get_filename_component(file_name ${path} NAME)
    string(APPEND arrays "const unsigned char file_${number}[] = {${bytes}0};\n")
    string(APPEND lookups "  if (file_name == \"${file_name}\") return "
                          "{reinterpret_cast<const char*>(file_${number}), sizeof(file_${number}) - 1};\n")
    math(EXPR number "${number} + 1")
  endforeach()
  file(WRITE ${OUT}
       "// Written by cmake/embed.cmake.\n#include <string_view>\n\nnamespace moxie {\nnamespace {\n${arrays}}  // namespace\n\n"
       "std::string_view ${NAME}(std::string_view file_name);\n"
       "std::string_view ${NAME}(std::string_view file_name) {\n${lookups}  return {};\n}\n\n}  // namespace moxie\n")
  return()
endif()

set(MOXIE_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})
function(moxie_embed target name)
  set(out ${CMAKE_BINARY_DIR}/embedded/${name}.cpp)
  add_custom_command(
    OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DOUT=${out} -DNAME=${name} "-DFILES=${ARGN}" -P ${MOXIE_EMBED_SCRIPT}
    DEPENDS ${ARGN} ${MOXIE_EMBED_SCRIPT}
    VERBATIM)
  target_sources(${target} PRIVATE ${out})
endfunction()
