/* Connections that leave the machine, in a network of its own: one that drops every packet, one where nobody answers,
 * routes that lead nowhere. */
#include "actor.h"
#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A message of netlink that grows. */
struct message {
    struct nlmsghdr header;
    char body[1024];
};

static void grow(struct message *message, const void *part, size_t len)
{
    memcpy((char *)message + NLMSG_ALIGN(message->header.nlmsg_len), part, len);
    message->header.nlmsg_len = (uint32_t)(NLMSG_ALIGN(message->header.nlmsg_len) + len);
}

/* Gives the attribute's place, whose length `close_` sets. */
static struct rtattr *attribute(struct message *message, unsigned short type, const void *value, size_t len)
{
    struct rtattr head = {.rta_type = type, .rta_len = (unsigned short)RTA_LENGTH(len)};
    struct rtattr *at = (struct rtattr *)((char *)message + NLMSG_ALIGN(message->header.nlmsg_len));
    grow(message, &head, sizeof head);
    if (len > 0)
        grow(message, value, len);
    return at;
}

static void close_(struct message *message, struct rtattr *at)
{
    at->rta_len = (unsigned short)((char *)message + message->header.nlmsg_len - (char *)at);
}

/* What the kernel answers: 0, or an errno. */
static int answered(struct message *message, const char *what)
{
    struct { struct nlmsghdr header; struct nlmsgerr error; } answer;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    message->header.nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    if (send(fd, message, message->header.nlmsg_len, 0) < 0 || recv(fd, &answer, sizeof answer, MSG_TRUNC) < 0)
        broken(what);
    close(fd);
    return -answer.error.error;
}

static void ask(struct message *message, const char *what)
{
    if ((errno = answered(message, what)) != 0)
        refused(what);
}

/* Two ends of a wire; 0, or an errno. */
static int wire(const char *name, const char *peer)
{
    struct ifinfomsg none = {0};
    struct message message = {.header = {.nlmsg_type = RTM_NEWLINK, .nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL,
                                         .nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg))}};
    attribute(&message, IFLA_IFNAME, name, strlen(name) + 1);
    struct rtattr *info = attribute(&message, IFLA_LINKINFO, NULL, 0);
    attribute(&message, IFLA_INFO_KIND, "veth", sizeof "veth");
    struct rtattr *data = attribute(&message, IFLA_INFO_DATA, NULL, 0);
    struct rtattr *other = attribute(&message, VETH_INFO_PEER, &none, sizeof none);
    attribute(&message, IFLA_IFNAME, peer, strlen(peer) + 1);
    close_(&message, other);
    close_(&message, data);
    close_(&message, info);
    return answered(&message, "veth");
}

static void up(const char *name, unsigned flags)
{
    struct message message = {.header = {.nlmsg_type = RTM_NEWLINK, .nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg))}};
    struct ifinfomsg *info = (struct ifinfomsg *)message.body;
    info->ifi_index = (int)if_nametoindex(name);
    info->ifi_flags = info->ifi_change = IFF_UP | flags;
    ask(&message, "bringing a link up");
}

static void address(const char *name, int family, const char *text, unsigned char prefix)
{
    struct message message = {.header = {.nlmsg_type = RTM_NEWADDR, .nlmsg_flags = NLM_F_CREATE,
                                         .nlmsg_len = NLMSG_LENGTH(sizeof(struct ifaddrmsg))}};
    struct ifaddrmsg *info = (struct ifaddrmsg *)message.body;
    char bytes[16];
    size_t len = family == AF_INET ? 4 : 16;
    info->ifa_family = (unsigned char)family;
    info->ifa_prefixlen = prefix;
    info->ifa_index = if_nametoindex(name);
    info->ifa_flags = family == AF_INET6 ? IFA_F_NODAD : 0;
    inet_pton(family, text, bytes);
    attribute(&message, IFA_LOCAL, bytes, len);
    attribute(&message, IFA_ADDRESS, bytes, len);
    ask(&message, text);
}

/* A route of that type to one host, through a link if one is named. */
static void route(int family, const char *text, unsigned char type, const char *through)
{
    struct message message = {.header = {.nlmsg_type = RTM_NEWROUTE, .nlmsg_flags = NLM_F_CREATE,
                                         .nlmsg_len = NLMSG_LENGTH(sizeof(struct rtmsg))}};
    struct rtmsg *info = (struct rtmsg *)message.body;
    char bytes[16];
    info->rtm_family = (unsigned char)family;
    info->rtm_dst_len = family == AF_INET ? 32 : 128;
    info->rtm_table = RT_TABLE_MAIN;
    info->rtm_protocol = RTPROT_STATIC;
    info->rtm_type = type;
    inet_pton(family, text, bytes);
    attribute(&message, RTA_DST, bytes, family == AF_INET ? 4 : 16);
    if (through) {
        unsigned index = if_nametoindex(through);
        attribute(&message, RTA_OIF, &index, sizeof index);
    }
    ask(&message, text);
}

static void to(int family, const char *text, union address *at)
{
    memset(at, 0, sizeof *at);
    at->any.sa_family = (sa_family_t)family;
    at->in.sin_port = htons(80);
    inet_pton(family, text, family == AF_INET ? (void *)&at->in.sin_addr : (void *)&at->in6.sin6_addr);
}

/* A client with one SYN and no further, bound to where it is to speak from. */
static int client(int family, const char *from, int nonblocking, union address *local)
{
    int one = 1, fd = socket(family, SOCK_STREAM | (nonblocking ? SOCK_NONBLOCK : 0) | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof *local;
    to(family, from, local);
    local->in.sin_port = 0;
    if (fd < 0 || bind(fd, &local->any, net_size(local)) < 0 || getsockname(fd, &local->any, &len) < 0)
        broken("a client");
    if (setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &one, sizeof one) < 0)
        broken("TCP_SYNCNT");
    return fd;
}

static const char *const from[] = {"192.0.2.1", "2001:db8::1"}, *const there[] = {"192.0.2.9", "2001:db8::9"};

/* `times` pending ones of each family and one that waits, of which nothing ever comes. */
static void none_answers(long times, int families)
{
    static union address locals[2 * ATTEMPTS_MAX], at[2];
    static int fds[2 * ATTEMPTS_MAX];
    for (int v6 = 0; v6 < 2; v6++)
        to(v6 ? AF_INET6 : AF_INET, there[v6], &at[v6]);
    for (long i = 0; i < families * times; i++) {
        const union address *to_it = &at[i % families];
        fds[i] = client(to_it->any.sa_family, from[i % families], 1, &locals[i]);
        if (connect(fds[i], &to_it->any, net_size(to_it)) == 0 || errno != EINPROGRESS)
            broken("a connect to nobody");
    }
    union address local;
    int fd = client(AF_INET, from[0], 0, &local);
    if (connect(fd, &at[0].any, net_size(&at[0])) == 0)
        broken("somebody answered");
    net_tell("tcp", &local, &at[0], errno, "");
    close(fd);
    for (long i = 0; i < families * times; i++) {
        net_tell("tcp", &locals[i], &at[i % families], EINPROGRESS, net_decided(fds[i], &at[i % families]));
        close(fds[i]);
    }
}

/* A wire whose other end takes no packet for its own. Where there are no wires, the loopback drops what it sends to an
 * address that is not its own; that is for IPv4 alone. */
int do_dropped(int argc, char **argv)
{
    (void)argc;
    int families = 2;
    net_own();
    if (wire("drop", "end") == 0) {
        up("end", 0);
        up("drop", IFF_NOARP);
        address("drop", AF_INET, from[0], 24);
        address("drop", AF_INET6, from[1], 64);
    } else {
        families = 1;
        address("lo", AF_INET, from[0], 32);
        route(AF_INET, there[0], RTN_UNICAST, "lo");
    }
    none_answers(number(argv[1], ATTEMPTS_MAX), families);
    return 0;
}

/* A wire to whose other end nobody has the address: the kernel says so when nobody has answered to its question. */
int do_nobody_there(int argc, char **argv)
{
    (void)argc;
    static const char *const waits[] = {"/proc/sys/net/ipv4/neigh/wire/retrans_time_ms",
                                        "/proc/sys/net/ipv6/neigh/wire/retrans_time_ms"};
    net_own();
    if ((errno = wire("wire", "end")) != 0)
        refused("veth");
    for (int v6 = 0; v6 < 2; v6++) {
        int fd = open(waits[v6], O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "100", 3) != 3)
            refused(waits[v6]);
        close(fd);
    }
    up("end", 0);
    up("wire", 0);
    address("wire", AF_INET, from[0], 24);
    address("wire", AF_INET6, from[1], 64);
    none_answers(number(argv[1], ATTEMPTS_MAX), 2);
    return 0;
}

/* No route at all, and routes that are there to refuse. The call knows at once, and no local address was chosen. */
int do_no_route(int argc, char **argv)
{
    (void)argc;
    static const struct {
        int family;
        const char *there;
        unsigned char type;
        int error;
    } ways[] = {
        {AF_INET, "192.0.2.1", 0, ENETUNREACH},
        {AF_INET, "192.0.2.2", RTN_UNREACHABLE, EHOSTUNREACH},
        {AF_INET, "192.0.2.3", RTN_PROHIBIT, EACCES},
        {AF_INET, "192.0.2.4", RTN_BLACKHOLE, EINVAL},
        {AF_INET6, "2001:db8::1", 0, ENETUNREACH},
        {AF_INET6, "2001:db8::2", RTN_UNREACHABLE, EHOSTUNREACH},
        {AF_INET6, "2001:db8::3", RTN_PROHIBIT, EACCES},
        {AF_INET6, "2001:db8::4", RTN_BLACKHOLE, EINVAL},
    };
    long times = number(argv[1], ATTEMPTS_MAX);
    net_own();
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
        union address at;
        to(ways[way].family, ways[way].there, &at);
        if (ways[way].type)
            route(ways[way].family, ways[way].there, ways[way].type, NULL);
        for (long i = 0; i < times; i++) {
            int fd = socket(ways[way].family, SOCK_STREAM | (i % 2 ? SOCK_NONBLOCK : 0) | SOCK_CLOEXEC, 0);
            if (connect(fd, &at.any, net_size(&at)) == 0 || errno != ways[way].error)
                broken(ways[way].there);
            net_tell("tcp", NULL, &at, ways[way].error, "");
            close(fd);
        }
    }
    return 0;
}
