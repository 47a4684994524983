// SPDX-License-Identifier: BSD-2-Clause
// Files, and the one-value files that are Linux's interface to its devices.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace dmatoll::harness {

namespace fs = std::filesystem;

// A file descriptor that closes itself.
class Descriptor {
  public:
    Descriptor() = default;
    explicit Descriptor(int number) : number_{number} {}
    Descriptor(Descriptor&& other) noexcept : number_{other.release()} {}
    Descriptor& operator=(Descriptor&& other) noexcept;
    ~Descriptor() { reset(); }

    [[nodiscard]] int get() const { return number_; }
    [[nodiscard]] bool valid() const { return number_ >= 0; }
    int release();
    void reset();

  private:
    int number_ = -1;
};

// The whole file. Failure if it cannot be read.
std::string read_file(const fs::path& path);

// The whole file without surrounding blanks; nothing if it cannot be read (no such device, no such
// attribute).
std::optional<std::string> read_attribute(const fs::path& path);

// Creates or replaces the file durably: whoever reads it sees the old content or the new one. Failure if the
// disk is full.
void write_file(const fs::path& path, std::string_view content);

// Writes one value into a file of sysfs or procfs with one write(). Failure says what the kernel answered.
void write_attribute(const fs::path& path, std::string_view value);

// All of it, or Failure: a short write to a full disk is not success.
void write_all(int descriptor, std::string_view content, const std::string& name);

// What a symbolic link points at, last component only; nothing if there is no such link.
std::optional<std::string> link_name(const fs::path& path);

// errno as text.
std::string system_error(int number);

}  // namespace dmatoll::harness
