// SPDX-License-Identifier: BSD-2-Clause
// A unix stream socket on which each line is a question and is answered by one line.
#pragma once

#include <poll.h>

#include <functional>
#include <string>
#include <vector>

#include "descriptor.hpp"

namespace dmatoll::user {

class ControlSocket {
  public:
    using Answer = std::function<std::string(const std::string& question)>;

    // Listens at `path`, for its owner only (0600). An empty path makes no socket. A socket that nobody
    // listens on any more is replaced. Throws Failure.
    ControlSocket(std::string path, Answer answer);
    ~ControlSocket();
    ControlSocket(const ControlSocket&) = delete;
    ControlSocket& operator=(const ControlSocket&) = delete;

    void add_to(std::vector<pollfd>& waiting) const;
    // Looks at what poll() found. Never waits for a client.
    void serve(const std::vector<pollfd>& found);

  private:
    struct Client {
        Descriptor socket;
        std::string pending;
    };

    void accept_client();
    // False when the client is done with.
    bool read_from(Client& client);

    std::string path_;
    Answer answer_;
    Descriptor listening_;
    std::vector<Client> clients_;
};

}  // namespace dmatoll::user
