// SPDX-License-Identifier: BSD-2-Clause
#include "toml_reading.hpp"

#include <algorithm>

#include "failure.hpp"
#include "text.hpp"

namespace dmatoll::harness {

toml::table parse_toml(std::string_view text, const std::string& file) {
    try {
        return toml::parse(text, file);
    } catch (const toml::parse_error& error) {
        fail("{}:{}: {}", file, error.source().begin.line, error.description());
    }
}

std::string TomlTable::at(const std::string& key) const {
    const toml::node* found = table_.get(key);
    const auto line = found ? found->source().begin.line : table_.source().begin.line;
    return fmt::format("{}:{}: in {}, {}", file_, line, where_, key);
}

const toml::node& TomlTable::node(const std::string& key) const {
    const toml::node* found = table_.get(key);
    if (!found) fail("{}:{}: {} needs the key '{}'", file_, table_.source().begin.line, where_, key);
    return *found;
}

void TomlTable::only(const std::vector<std::string>& keys) const {
    for (const auto& [key, value] : table_) {
        const std::string name{key.str()};
        if (std::find(keys.begin(), keys.end(), name) == keys.end())
            fail("{}:{}: unknown key '{}' in {}{}", file_, key.source().begin.line, name, where_,
                 suggestion(name, keys));
    }
}

std::string TomlTable::text(const std::string& key) const {
    const auto value = node(key).value<std::string>();
    if (!value || value->empty()) fail("{}: a text in quotes was expected", at(key));
    return *value;
}

std::string TomlTable::text(const std::string& key, const std::string& otherwise) const {
    return has(key) ? text(key) : otherwise;
}

std::uint64_t TomlTable::number(const std::string& key, std::uint64_t otherwise, std::uint64_t least,
                                std::uint64_t most) const {
    return has(key) ? checked_number(node(key), key, least, most) : otherwise;
}

std::uint64_t TomlTable::checked_number(const toml::node& node, const std::string& key, std::uint64_t least,
                                        std::uint64_t most) const {
    const auto* value = node.as_integer();
    if (!value) fail("{}: a whole number was expected", at(key));
    const std::int64_t number = value->get();
    if (number < 0 || static_cast<std::uint64_t>(number) < least || static_cast<std::uint64_t>(number) > most)
        fail("{}: {} is out of range; {} to {} are possible", at(key), number, least, most);
    return static_cast<std::uint64_t>(number);
}

std::vector<std::uint64_t> TomlTable::numbers(const std::string& key, std::uint64_t otherwise,
                                              std::uint64_t least, std::uint64_t most) const {
    if (!has(key)) return {otherwise};
    const auto* array = node(key).as_array();
    if (!array) return {number(key, otherwise, least, most)};
    if (array->empty()) fail("{}: the list is empty", at(key));
    std::vector<std::uint64_t> result;
    for (const auto& element : *array) {
        const std::uint64_t value = checked_number(element, key, least, most);
        if (std::find(result.begin(), result.end(), value) != result.end())
            fail("{}: {} stands there more than once", at(key), value);
        result.push_back(value);
    }
    return result;
}

std::vector<bool> TomlTable::flags(const std::string& key, bool otherwise) const {
    if (!has(key)) return {otherwise};
    std::vector<bool> result;
    const auto add = [&](const toml::node& node) {
        const auto* value = node.as_boolean();
        if (!value) fail("{}: true, false, or a list of both was expected", at(key));
        if (std::find(result.begin(), result.end(), value->get()) != result.end())
            fail("{}: {} stands there more than once", at(key), value->get());
        result.push_back(value->get());
    };
    if (const auto* array = node(key).as_array()) {
        for (const auto& element : *array) add(element);
        if (result.empty()) fail("{}: the list is empty", at(key));
    } else {
        add(node(key));
    }
    return result;
}

std::vector<std::string> TomlTable::texts(const std::string& key) const {
    const auto* array = node(key).as_array();
    std::vector<std::string> result;
    if (array) {
        for (const auto& element : *array)
            if (const auto value = element.value<std::string>()) result.push_back(*value);
    }
    if (!array || result.empty() || result.size() != array->size())
        fail("{}: a list of texts was expected, as in [\"a\", \"b\"]", at(key));
    return result;
}

TomlTable TomlTable::table(const std::string& key) const {
    const auto* inner = node(key).as_table();
    if (!inner) fail("{}: a table was expected", at(key));
    return {*inner, file_, fmt::format("[{}]", key)};
}

std::vector<std::string> TomlTable::keys() const {
    std::vector<std::string> result;
    for (const auto& [key, value] : table_) result.emplace_back(key.str());
    return result;
}

std::vector<TomlTable> TomlTable::tables(const std::string& key) const {
    const auto* array = node(key).as_array();
    if (!array || !array->is_array_of_tables() || array->empty())
        fail("{}: [[{}]] tables were expected", at(key), key);
    std::vector<TomlTable> result;
    for (const auto& element : *array)
        result.emplace_back(*element.as_table(), file_, fmt::format("[[{}]]", key));
    return result;
}

}  // namespace dmatoll::harness
