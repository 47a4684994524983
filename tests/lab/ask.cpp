// SPDX-License-Identifier: BSD-2-Clause
// ask SOCKET QUESTION: puts one question to a control socket and prints the line that is answered. For the guest, which
// has no other program for it.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>

int main(int count, char** arguments) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (count != 3 || std::strlen(arguments[1]) >= sizeof address.sun_path) {
        std::fprintf(stderr, "usage: ask SOCKET QUESTION\n");
        return 2;
    }
    std::strcpy(address.sun_path, arguments[1]);
    const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        std::perror(arguments[1]);
        return 1;
    }
    const std::string question = std::string{arguments[2]} + "\n";
    if (::write(socket, question.data(), question.size()) != static_cast<ssize_t>(question.size())) {
        std::perror("write");
        return 1;
    }
    for (char character = 0; ::read(socket, &character, 1) == 1;) {
        std::putchar(character);
        if (character == '\n') return 0;
    }
    std::fprintf(stderr, "%s: no answer\n", arguments[1]);
    return 1;
}
