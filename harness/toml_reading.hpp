// SPDX-License-Identifier: BSD-2-Clause
// Strict reading of TOML: a key that nobody asked for is an error, told with its line and the name that was
// probably meant.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

namespace dmatoll::harness {

toml::table parse_toml(std::string_view text, const std::string& file);

class TomlTable {
  public:
    // `where` names the table in messages: "[suite]".
    TomlTable(const toml::table& table, std::string file, std::string where)
        : table_{table}, file_{std::move(file)}, where_{std::move(where)} {}

    // Failure unless every key is among these.
    void only(const std::vector<std::string>& keys) const;

    [[nodiscard]] bool has(const std::string& key) const { return table_.contains(key); }
    [[nodiscard]] std::string text(const std::string& key) const;
    [[nodiscard]] std::string text(const std::string& key, const std::string& otherwise) const;
    [[nodiscard]] std::uint64_t number(const std::string& key, std::uint64_t otherwise, std::uint64_t least,
                                       std::uint64_t most) const;
    // One number, or a list of different ones.
    [[nodiscard]] std::vector<std::uint64_t> numbers(const std::string& key, std::uint64_t otherwise,
                                                     std::uint64_t least, std::uint64_t most) const;
    // true, false, or a list of both.
    [[nodiscard]] std::vector<bool> flags(const std::string& key, bool otherwise) const;
    [[nodiscard]] std::vector<std::string> texts(const std::string& key) const;
    [[nodiscard]] TomlTable table(const std::string& key) const;
    [[nodiscard]] std::vector<std::string> keys() const;
    [[nodiscard]] std::vector<TomlTable> tables(const std::string& key) const;

    // "file:12: in [suite], key": where a message about that key points.
    [[nodiscard]] std::string at(const std::string& key) const;

  private:
    [[nodiscard]] std::uint64_t checked_number(const toml::node& node, const std::string& key,
                                               std::uint64_t least, std::uint64_t most) const;
    const toml::node& node(const std::string& key) const;

    const toml::table& table_;
    std::string file_;
    std::string where_;
};

}  // namespace dmatoll::harness
