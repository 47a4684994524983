// SPDX-License-Identifier: BSD-2-Clause
#include "paths.hpp"

#include <sys/utsname.h>

#include <algorithm>
#include <cstdlib>

#include "failure.hpp"
#include "process.hpp"

namespace dmatoll::harness {
namespace {

bool present(const fs::path& path) {
    std::error_code error;
    return fs::exists(path, error);
}

// The top of the build tree when the program runs from there: build/harness/dmatoll.
fs::path build_tree() {
    const fs::path tree = own_program().parent_path().parent_path();
    return present(tree / "CMakeCache.txt") ? tree : fs::path{};
}

fs::path share_directory(const std::string& kind) {
    if (const char* share = std::getenv("DMATOLL_SHARE")) return fs::path{share} / kind;
    const fs::path beside = own_program().parent_path();
    for (const fs::path& candidate :
         {beside / "share/dmatoll" / kind, beside.parent_path() / "share/dmatoll" / kind})
        if (present(candidate)) return candidate;
    const fs::path sources = source_tree();
    if (!sources.empty()) return kind == "suites" ? sources / "harness/suites" : sources / kind;
    fail("The folder '{}' of dmatoll is nowhere beside {}; set DMATOLL_SHARE to the folder that holds it",
         kind, own_program().string());
}

}  // namespace

fs::path own_program() {
    static const fs::path program = fs::read_symlink("/proc/self/exe");
    return program;
}

fs::path share_file(const std::string& relative) {
    const auto slash = relative.find('/');
    return share_directory(relative.substr(0, slash)) / relative.substr(slash + 1);
}

std::vector<std::string> share_names(const std::string& directory) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(share_directory(directory)))
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

fs::path lab_artefacts() {
    if (const char* lab = std::getenv("DMATOLL_LAB")) return lab;
    const fs::path build = build_tree();
    if (!build.empty()) return build / "lab";
    return own_program().parent_path().parent_path() / "share/dmatoll/lab";
}

fs::path source_tree() {
#ifdef DMATOLL_SOURCE_TREE
    const fs::path sources = DMATOLL_SOURCE_TREE;
    if (present(sources / "harness")) return sources;
#endif
    return {};
}

fs::path our_program(const std::string& name) {
    const fs::path beside = own_program().parent_path() / name;
    if (present(beside)) return beside;
    const fs::path build = build_tree();
    for (const char* room : {"drivers/user", "workloads/programs"})
        if (!build.empty() && present(build / room / name)) return build / room / name;
    if (const auto found = find_program(name)) return *found;
    return {};
}

fs::path our_module(const std::string& name) {
    if (const char* module = std::getenv("DMATOLL_MODULE"); module && fs::path{module}.stem() == name)
        return module;
    const std::string file = name + ".ko";
    utsname system{};
    ::uname(&system);
    const std::string release = system.release;
    const fs::path build = build_tree();
    for (const fs::path& candidate :
         {fs::path{"/lib/modules"} / release / "extra" / file,
          fs::path{"/lib/modules"} / release / "updates" / file,
          build.empty() ? fs::path{} : build / "drivers/kernel" / release / file})
        if (!candidate.empty() && present(candidate)) return candidate;
    return {};
}

}  // namespace dmatoll::harness
