// SPDX-License-Identifier: BSD-2-Clause
// dmatoll-udp-load: an open-loop UDP load, and what its echo tells.
#include <cstdio>
#include <exception>

#include "clock.hpp"
#include "load_generator.hpp"
#include "load_options.hpp"
#include "stop_request.hpp"

int main(int argc, char** argv) {
    using namespace dmatoll::workloads;
    try {
        const auto options = parse_load_options(argc, argv);
        if (!options) return 0;
        be_punctual();
        LoadGenerator generator{*options};
        handle_stop_requests();
        std::printf("%s\n", generator.run().dump().c_str());
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "dmatoll-udp-load: %s\n", error.what());
        return 1;
    }
}
