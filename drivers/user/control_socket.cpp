// SPDX-License-Identifier: BSD-2-Clause
#include "control_socket.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "failure.hpp"

namespace dmatoll::user {
namespace {

constexpr std::size_t most_clients = 16;
constexpr std::size_t longest_question = 256;

sockaddr_un address_of(const std::string& path) {
    sockaddr_un address{};
    if (path.size() >= sizeof(address.sun_path)) {
        throw Failure{"the path of the control socket is too long (" + std::to_string(path.size()) +
                      " bytes, the kernel allows " + std::to_string(sizeof(address.sun_path) - 1) +
                      "): " + path};
    }
    address.sun_family = AF_UNIX;
    std::copy(path.begin(), path.end(), address.sun_path);
    return address;
}

const sockaddr* generic(const sockaddr_un& address) { return reinterpret_cast<const sockaddr*>(&address); }

Descriptor unix_socket() {
    return Descriptor{::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
}

bool somebody_listens(const sockaddr_un& address) {
    const Descriptor probe = unix_socket();
    return ::connect(probe.get(), generic(address), sizeof(address)) == 0 || errno == EAGAIN;
}

void remove_abandoned(const std::string& path, const sockaddr_un& address) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) {
        return;
    }
    if (!S_ISSOCK(status.st_mode)) {
        throw Failure{path + " is to be the control socket, but something else of that name exists"};
    }
    if (somebody_listens(address)) {
        throw Failure{"another process serves the control socket " + path +
                      ". Choose another path with --control."};
    }
    ::unlink(path.c_str());
}

}  // namespace

ControlSocket::ControlSocket(std::string path, Answer answer) : answer_{std::move(answer)} {
    if (path.empty()) {
        return;
    }
    const sockaddr_un address = address_of(path);
    remove_abandoned(path, address);
    listening_ = unix_socket();
    const mode_t before = ::umask(0177);
    const int bound = ::bind(listening_.get(), generic(address), sizeof(address));
    const int error = errno;
    ::umask(before);
    if (bound != 0) {
        throw system_failure("cannot make the control socket " + path, error);
    }
    path_ = std::move(path);
    if (::listen(listening_.get(), static_cast<int>(most_clients)) != 0) {
        const int listen_error = errno;
        ::unlink(path_.c_str());
        throw system_failure("cannot listen on the control socket " + path_, listen_error);
    }
}

ControlSocket::~ControlSocket() {
    if (!path_.empty()) {
        ::unlink(path_.c_str());
    }
}

void ControlSocket::add_to(std::vector<pollfd>& waiting) const {
    if (listening_.valid() && clients_.size() < most_clients) {
        waiting.push_back({listening_.get(), POLLIN, 0});
    }
    for (const Client& client : clients_) {
        waiting.push_back({client.socket.get(), POLLIN, 0});
    }
}

void ControlSocket::serve(const std::vector<pollfd>& found) {
    const auto ready = [&found](const Descriptor& descriptor) {
        return std::any_of(found.begin(), found.end(), [&](const pollfd& entry) {
            return entry.fd == descriptor.get() && entry.revents != 0;
        });
    };
    std::erase_if(clients_, [&](Client& client) { return ready(client.socket) && !read_from(client); });
    if (listening_.valid() && ready(listening_)) {
        accept_client();
    }
}

void ControlSocket::accept_client() {
    Descriptor socket{::accept4(listening_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
    if (socket.valid()) {
        clients_.push_back({std::move(socket), {}});
    }
}

bool ControlSocket::read_from(Client& client) {
    std::array<char, longest_question> bytes{};
    const ssize_t got = ::recv(client.socket.get(), bytes.data(), bytes.size(), 0);
    if (got <= 0) {
        return got < 0 && (errno == EAGAIN || errno == EINTR);
    }
    client.pending.append(bytes.data(), static_cast<std::size_t>(got));
    for (std::size_t end = client.pending.find('\n'); end != std::string::npos;
         end = client.pending.find('\n')) {
        const std::string reply = answer_(client.pending.substr(0, end)) + "\n";
        client.pending.erase(0, end + 1);
        // A client that asks without reading is dropped: its answers are not kept for it.
        if (::send(client.socket.get(), reply.data(), reply.size(), MSG_NOSIGNAL) !=
            static_cast<ssize_t>(reply.size())) {
            return false;
        }
    }
    return client.pending.size() <= longest_question;
}

}  // namespace dmatoll::user
