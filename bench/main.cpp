// SPDX-License-Identifier: BSD-2-Clause
// Google Benchmark's own program, with what its context does not tell.
#include <benchmark/benchmark.h>

#include <string>

#include "provenance.hpp"

int main(int argc, char** argv) {
    const auto provenance = dmatoll::harness::program_provenance();
    benchmark::AddCustomContext("revision", provenance.at("git").get<std::string>() +
                                                (provenance.value("dirty", false) ? " and changes" : ""));
    benchmark::AddCustomContext("compiler", provenance.at("compiler").get<std::string>());
    benchmark::AddCustomContext("build_type", provenance.at("build_type").get<std::string>());
    benchmark::AddCustomContext("iommu", "made of software: neither device nor IOTLB of hardware is waited for");
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
