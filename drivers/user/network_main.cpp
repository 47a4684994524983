// SPDX-License-Identifier: BSD-2-Clause
// dmatoll-net-user: an e1000 driven by an unprivileged process. The process that the user starts is the
// supervisor; it starts this program once more as the driver.
#include <cstdio>
#include <cstring>
#include <exception>
#include <nlohmann/json.hpp>

#include "network_driver.hpp"
#include "network_options.hpp"
#include "network_supervisor.hpp"

namespace {

bool wants_json(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "--json") == 0) {
            return true;
        }
    }
    return false;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 3 && std::strcmp(argv[1], "--driver-process") == 0) {
        return dmatoll::user::drive_network(argv[2]);
    }
    try {
        const auto options = dmatoll::user::parse_network_options(argc, argv);
        return options ? dmatoll::user::supervise_network(*options) : 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "dmatoll-net-user: %s\n", error.what());
        if (wants_json(argc, argv)) {
            const nlohmann::json event{{"event", "error"}, {"message", error.what()}};
            std::printf("%s\n", event.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace).c_str());
        }
        return 1;
    }
}
