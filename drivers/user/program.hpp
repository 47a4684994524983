// SPDX-License-Identifier: BSD-2-Clause
// What the programs of this room begin with: one of them is the supervisor, which starts itself again as the
// driver.
#pragma once

#include <cstdio>
#include <cstring>
#include <exception>
#include <nlohmann/json.hpp>

namespace dmatoll::user {

inline bool wants_json(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "--json") == 0) {
            return true;
        }
    }
    return false;
}

// Returns the exit status. parse(argc, argv): the options, or nothing when there is nothing to do.
template <class Drive, class Parse, class Supervise>
int run_program(const char* name, int argc, char** argv, Drive drive, Parse parse, Supervise supervise) {
    if (argc == 3 && std::strcmp(argv[1], "--driver-process") == 0) {
        return drive(argv[2]);
    }
    try {
        const auto options = parse(argc, argv);
        return options ? supervise(*options) : 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", name, error.what());
        if (wants_json(argc, argv)) {
            const nlohmann::json event{{"event", "error"}, {"message", error.what()}};
            std::printf("%s\n", event.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace).c_str());
        }
        return 1;
    }
}

}  // namespace dmatoll::user
