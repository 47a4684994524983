// SPDX-License-Identifier: BSD-2-Clause
// Where the program finds what belongs to it, in the build tree, installed, or in the lab's guest.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace dmatoll::harness {

namespace fs = std::filesystem;

// The running program, and the directory that it lies in.
fs::path own_program();

// Suites and workload descriptions: $DMATOLL_SHARE, else beside the program (share/dmatoll), else the source
// tree.
fs::path share_file(const std::string& relative);
std::vector<std::string> share_names(const std::string& directory);

// What the build made for the lab: kernel, image, meter. $DMATOLL_LAB, else beside the program.
fs::path lab_artefacts();

// The source tree that this was built from, or an empty path where it is gone.
fs::path source_tree();

// Another program of ours: beside this one, else in the build tree, else in PATH. Empty if it is nowhere.
fs::path our_program(const std::string& name);

// The kernel module: $DMATOLL_MODULE, the running kernel's extra directory, or the build tree. Empty if it is
// nowhere.
fs::path our_module(const std::string& name);

}  // namespace dmatoll::harness
