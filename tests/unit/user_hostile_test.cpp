// SPDX-License-Identifier: BSD-2-Clause
// What a driver process is told to try, and that what it tries works where nothing forbids it: or its refusal
// would show nothing.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string>

#include "failure.hpp"
#include "foreign_memory.hpp"
#include "hostile_command.hpp"

namespace dmatoll::user {
namespace {

std::string refusal(const char* line) {
    try {
        static_cast<void>(parse_hostile_command(line));
    } catch (const Failure& failure) {
        return failure.what();
    }
    return "taken";
}

TEST(HostileCommand, IsToldByItsFirstWord) {
    EXPECT_TRUE(is_hostile("hostile flood rest_after=0"));
    EXPECT_TRUE(is_hostile("hostile"));
    EXPECT_FALSE(is_hostile("hostiles"));
    EXPECT_FALSE(is_hostile("stray_read iova=0x1000"));
}

TEST(HostileCommand, TakesNumbersInBothSpellingsAndWordsInAnyOrder) {
    const HostileCommand command = parse_hostile_command("hostile map_foreign address=0x7f00 iova=4096");
    EXPECT_EQ(command.act->act, Act::map_foreign);
    EXPECT_EQ(command.value(ActKey::address), 0x7f00u);
    EXPECT_EQ(command.value(ActKey::iova), 4096u);
    EXPECT_EQ(parse_hostile_command("hostile map_kernel iova=1 address=18446744073709551615")
                  .value(ActKey::address),
              ~std::uint64_t{0});
}

TEST(HostileCommand, SaysWhatIsWrongWithWhichWord) {
    EXPECT_NE(refusal("hostile").find("there are map_own"), std::string::npos);
    EXPECT_NE(refusal("hostile love").find("`love`"), std::string::npos);
    EXPECT_NE(refusal("hostile map_own").find("needs a value for iova"), std::string::npos);
    EXPECT_NE(refusal("hostile map_own iova").find("name=value"), std::string::npos);
    EXPECT_NE(refusal("hostile map_own iova=1 iova=1").find("twice"), std::string::npos);
    EXPECT_NE(refusal("hostile map_own address=1").find("no parameter `address`"), std::string::npos);
    for (const char* number : {"", "0x", "x", "-1", "1.5", "18446744073709551616"})
        EXPECT_NE(refusal((std::string{"hostile map_own iova="} + number).c_str()).find("a whole number"),
                  std::string::npos)
            << number;
}

// A process of the same user, whose word is where the parent's is.
class ForeignMemoryTest : public testing::Test {
  protected:
    void SetUp() override {
        std::array<int, 2> ends{};
        ASSERT_EQ(::pipe(ends.data()), 0) << "no pipe: " << errno;
        process_ = ::fork();
        if (process_ == 0) {
            // Where only an ancestor may trace, the parent is one.
            word_ = secret;
            if (::write(ends[1], "", 1) != 1) ::_exit(1);
            while (true) ::pause();
        }
        // Without an end of its own here, the pipe ends with the process.
        ::close(ends[1]);
        char ready = 0;
        const ssize_t got = process_ > 0 ? ::read(ends[0], &ready, 1) : -1;
        ::close(ends[0]);
        ASSERT_GT(process_, 0) << "no process";
        ASSERT_EQ(got, 1) << "the process does not begin";
    }
    // -1 would be every process there is.
    void TearDown() override {
        if (process_ <= 0) return;
        ::kill(process_, SIGKILL);
        ::waitpid(process_, nullptr, 0);
    }

    [[nodiscard]] std::uint64_t address() const { return reinterpret_cast<std::uintptr_t>(&word_); }
    [[nodiscard]] std::string file() const { return "/proc/" + std::to_string(process_) + "/mem"; }
    std::uint64_t theirs() {
        std::uint64_t word = 0;
        EXPECT_EQ(read_process(process_, address(), word), 0);
        return word;
    }

    static constexpr std::uint64_t secret = 0x5ec7e7;
    volatile std::uint64_t word_ = 1;
    pid_t process_ = -1;
};

TEST_F(ForeignMemoryTest, IsReadByEachWayThatIsOpen) {
    std::uint64_t word = 0;
    EXPECT_EQ(read_process(process_, address(), word), 0);
    EXPECT_EQ(word, secret);
    word = 0;
    EXPECT_EQ(read_memory_file(file().c_str(), address(), word), 0);
    EXPECT_EQ(word, secret);
    word = 0;
    EXPECT_EQ(trace_and_read(process_, address(), word), 0);
    EXPECT_EQ(word, secret);
}

TEST_F(ForeignMemoryTest, IsWrittenByEachWayThatIsOpen) {
    EXPECT_EQ(write_process(process_, address(), 2), 0);
    EXPECT_EQ(theirs(), 2u);
    EXPECT_EQ(write_memory_file(file().c_str(), address(), 3), 0);
    EXPECT_EQ(theirs(), 3u);
    EXPECT_EQ(trace_and_write(process_, address(), 4), 0);
    EXPECT_EQ(theirs(), 4u);
    EXPECT_EQ(word_, 1u) << "the child's is its own";
}

TEST_F(ForeignMemoryTest, AWayThatIsClosedSaysWhy) {
    std::uint64_t word = 0;
    EXPECT_EQ(read_process(process_, 0, word), EFAULT);
    EXPECT_EQ(read_memory_file("/nowhere", 0, word), ENOENT);
    EXPECT_EQ(trace_and_read(::getpid(), address(), word), EPERM);
}

}  // namespace
}  // namespace dmatoll::user
