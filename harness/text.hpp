// SPDX-License-Identifier: BSD-2-Clause
// Small things about text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dmatoll::harness {

std::string trim(std::string_view text);
std::vector<std::string> split(std::string_view text, char separator);
std::vector<std::string> lines(std::string_view text);  // without their newlines; no empty last one
std::string join(const std::vector<std::string>& parts, std::string_view separator);

// The last `count` lines of a text, without carriage returns.
std::string last_lines(std::string_view text, std::size_t count);

// The candidate that a misspelt `name` probably meant; empty when none is near.
std::string nearest(std::string_view name, const std::vector<std::string>& candidates);

// "; did you mean 'x'?" or "; known: a, b, c".
std::string suggestion(std::string_view name, const std::vector<std::string>& candidates);

// Shell-style: * is any run of characters.
bool glob_match(std::string_view pattern, std::string_view text);

// "6 min 05 s".
std::string duration_text(double seconds);

// "2026-01-31T12:00:00Z", and "20260131-120000" for names of files.
std::string utc_now();
std::string utc_now_compact();

}  // namespace dmatoll::harness
