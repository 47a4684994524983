// SPDX-License-Identifier: BSD-2-Clause
#include "queueing_discipline.hpp"

#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "descriptor.hpp"
#include "failure.hpp"

namespace dmatoll::user {
namespace {

constexpr char no_queue[] = "noqueue";

// RTM_NEWQDISC with one attribute, the kind [rtnetlink(7)].
struct Request {
    nlmsghdr header;
    tcmsg message;
    rtattr kind;
    char kind_name[sizeof(no_queue)];
};
static_assert(offsetof(Request, kind) == NLMSG_LENGTH(sizeof(tcmsg)));
static_assert(offsetof(Request, kind_name) == offsetof(Request, kind) + RTA_LENGTH(0));

struct Answer {
    nlmsghdr header;
    nlmsgerr result;
    // The request comes back behind an error.
    char rest[256];
};

// 0 or an errno.
int ask_kernel(const Request& request) {
    const Descriptor socket{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)};
    if (!socket.valid() || ::send(socket.get(), &request, request.header.nlmsg_len, 0) < 0) {
        return errno;
    }
    Answer answer{};
    const ssize_t got = ::recv(socket.get(), &answer, sizeof(answer), 0);
    if (got < 0) {
        return errno;
    }
    constexpr auto least = static_cast<ssize_t>(NLMSG_LENGTH(sizeof(nlmsgerr)));
    return got < least || answer.header.nlmsg_type != NLMSG_ERROR ? EPROTO : -answer.result.error;
}

}  // namespace

void remove_queueing_discipline(const std::string& interface) {
    Request request{};
    request.header.nlmsg_len = offsetof(Request, kind_name) + sizeof(no_queue);
    request.header.nlmsg_type = RTM_NEWQDISC;
    request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    request.message.tcm_family = AF_UNSPEC;
    request.message.tcm_ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
    request.message.tcm_parent = TC_H_ROOT;
    request.kind.rta_type = TCA_KIND;
    request.kind.rta_len = RTA_LENGTH(sizeof(no_queue));
    std::memcpy(request.kind_name, no_queue, sizeof(no_queue));
    if (const int error = ask_kernel(request); error != 0) {
        throw system_failure("cannot take the queueing discipline of " + interface + " away", error);
    }
}

}  // namespace dmatoll::user
