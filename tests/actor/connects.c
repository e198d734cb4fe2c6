/* Connections. Each attempt is told with what the call gave back, with the local address as the socket had it, and
 * where somebody accepted it, only after the accepted peer was the same.
 */
#include "actor.h"
#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { CALL_MAX_MS = 20000 };

socklen_t net_loopback(int family, int mapped, union address *to)
{
    memset(to, 0, sizeof *to);
    to->any.sa_family = (sa_family_t)family;
    if (family == AF_INET) {
        to->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return sizeof to->in;
    }
    inet_pton(AF_INET6, mapped ? "::ffff:127.0.0.1" : "::1", &to->in6.sin6_addr);
    return sizeof to->in6;
}

/* A socket bound to a loopback address and a port of the kernel's choice, which `at` then has. */
int net_bound(int family, int type, int mapped, union address *at)
{
    int fd = socket(family, type | SOCK_CLOEXEC, 0);
    socklen_t len = net_loopback(family, mapped, at);
    if (fd < 0)
        refused("socket");
    if (bind(fd, &at->any, len) < 0)
        refused("bind");
    if (getsockname(fd, &at->any, &len) < 0)
        broken("getsockname");
    return fd;
}

int net_listening(int family, int mapped, union address *at)
{
    int fd = net_bound(family, SOCK_STREAM, mapped, at);
    if (listen(fd, 128) < 0)
        broken("listen");
    return fd;
}

socklen_t net_size(const union address *at)
{
    return at->any.sa_family == AF_INET ? sizeof at->in : sizeof at->in6;
}

/* As the events have it: mapped addresses as what they stand for. */
static void show(const union address *at, char *text, size_t size)
{
    char addr[INET6_ADDRSTRLEN];
    if (at->any.sa_family == AF_INET)
        inet_ntop(AF_INET, &at->in.sin_addr, addr, sizeof addr);
    else if (IN6_IS_ADDR_V4MAPPED(&at->in6.sin6_addr))
        inet_ntop(AF_INET, &at->in6.sin6_addr.s6_addr[12], addr, sizeof addr);
    else
        inet_ntop(AF_INET6, &at->in6.sin6_addr, addr, sizeof addr);
    snprintf(text, size, "%s %u", addr, ntohs(at->in.sin_port));
}

/* One attempt: `error` is what the call failed with; `later` how a pending one ended, or "". */
void net_told(const char *family, const char *protocol, const char *local, const char *remote, int error,
                 const char *later)
{
    dprintf(1,
            "{\"act\":\"connect\",\"pid\":%d,\"family\":\"%s\",\"protocol\":\"%s\",\"local\":\"%s\",\"remote\":\"%s\","
            "\"errno\":%d,\"later\":\"%s\"}\n",
            own_pid(), family, protocol, local, remote, error, later);
}

void net_tell(const char *protocol, const union address *local, const union address *remote, int error,
                 const char *later)
{
    char from[80] = "", to[80];
    if (local)
        show(local, from, sizeof from);
    show(remote, to, sizeof to);
    net_told(remote->any.sa_family == AF_INET ? "inet" : "inet6", protocol, from, to, error, later);
}

/* Accepts, and holds the peer against the address that the caller's socket had. */
void net_accepted(int listener, const union address *caller)
{
    union address peer;
    socklen_t len = sizeof peer;
    char seen[80], expected[80];
    int fd = accept(listener, &peer.any, &len);
    if (fd < 0)
        broken("accept");
    show(&peer, seen, sizeof seen);
    show(caller, expected, sizeof expected);
    if (strcmp(seen, expected) != 0)
        broken("another peer was accepted");
    close(fd);
}

/* Waits until a pending attempt is decided, and completes it with a second call, which is no attempt. */
const char *net_decided(int fd, const union address *to)
{
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    int error;
    socklen_t len = sizeof error;
    if (poll(&wait, 1, CALL_MAX_MS) != 1 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        broken("poll");
    if (error == 0 && connect(fd, &to->any, net_size(to)) < 0 && errno != EISCONN)
        broken("second connect");
    return error == 0 ? "ok" : error == ECONNREFUSED ? "refused" : error == ETIMEDOUT ? "timeout"
           : error == EHOSTUNREACH || error == ENETUNREACH ? "unreachable" : "error";
}

static void tcp(int family, int mapped, int nonblocking, int listener, const union address *to)
{
    union address local;
    int fd = net_bound(family, SOCK_STREAM | (nonblocking ? SOCK_NONBLOCK : 0), mapped, &local);
    int error = connect(fd, &to->any, net_size(to)) < 0 ? errno : 0;
    const char *later = error == EINPROGRESS ? net_decided(fd, to) : "";
    if (error == 0 || strcmp(later, "ok") == 0)
        net_accepted(listener, &local);
    net_tell("tcp", &local, to, error, later);
    close(fd);
}

static void udp(int family)
{
    union address at, local;
    socklen_t len = sizeof local;
    int other = net_bound(family, SOCK_DGRAM, 0, &at), fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, &at.any, net_size(&at)) < 0 || getsockname(fd, &local.any, &len) < 0)
        broken("connecting a datagram socket");
    net_tell("udp", &local, &at, 0, "");
    close(fd);
    close(other);
}

static void unix_socket(const char *name, int abstract, int listens)
{
    union address at = {.un = {.sun_family = AF_UNIX}};
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)abstract + strlen(name));
    int listener = -1, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(at.un.sun_path + abstract, name, strlen(name));
    if (listens) {
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(listener, &at.any, len) < 0 || listen(listener, 1) < 0)
            broken("a unix listener");
    }
    int error = connect(fd, &at.any, len) < 0 ? errno : 0;
    net_told("unix", "stream", "", name, error, "");
    close(fd);
    if (listens) {
        close(listener);
        if (!abstract)
            unlink(name);
    }
}

int do_connects(int argc, char **argv)
{
    (void)argc;
    static const struct { int family, mapped; } kinds[] = {{AF_INET, 0}, {AF_INET6, 0}, {AF_INET6, 1}};
    long rounds = number(argv[1], ATTEMPTS_MAX);
    char path[64], abstract[64];
    snprintf(path, sizeof path, "socket-%d", getpid());
    snprintf(abstract, sizeof abstract, "collector-test-%d", getpid());
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        union address open, closed;
        int family = kinds[k].family, mapped = kinds[k].mapped;
        int listener = net_listening(family, mapped, &open);
        int silent = net_bound(family, SOCK_STREAM, mapped, &closed);
        for (long i = 0; i < rounds; i++) {
            for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
                tcp(family, mapped, nonblocking, listener, &open);
                tcp(family, mapped, nonblocking, listener, &closed);
            }
            if (!mapped)
                udp(family);
        }
        close(listener);
        close(silent);
    }
    for (long i = 0; i < rounds; i++) {
        unix_socket(path, 0, 1);
        unix_socket(path, 0, 0);
        unix_socket(abstract, 1, 1);
        unix_socket(abstract, 1, 0);
    }
    return 0;
}

/* A network of its own, with a loopback alone. */
void net_own(void)
{
    if (unshare(CLONE_NEWNET) < 0)
        refused("unshare");
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0)
        broken("bringing up the loopback");
    close(fd);
}

int do_unreachable(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], ATTEMPTS_MAX);
    net_own();
    struct rtentry route = {.rt_flags = RTF_UP | RTF_HOST | RTF_REJECT};
    struct sockaddr_in *to = (struct sockaddr_in *)&route.rt_dst;
    union address at = {.in = {.sin_family = AF_INET, .sin_port = htons(80)}};
    inet_pton(AF_INET, "192.0.2.1", &at.in.sin_addr);
    *to = at.in;
    to->sin_port = 0;
    route.rt_genmask.sa_family = AF_INET;
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (ioctl(control, SIOCADDRT, &route) < 0)
        refused("SIOCADDRT");
    for (long i = 0; i < times; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | (i % 2 ? SOCK_NONBLOCK : 0) | SOCK_CLOEXEC, 0);
        if (connect(fd, &at.any, sizeof at.in) == 0)
            broken("an unreachable address was reached");
        net_tell("tcp", NULL, &at, errno, "");
        close(fd);
    }
    return 0;
}

int net_deaf(union address *at)
{
    struct sock_filter none[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog filter = {.len = 1, .filter = none};
    int fd = net_listening(AF_INET, 0, at);
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) < 0)
        refused("SO_ATTACH_FILTER");
    return fd;
}

static void nothing(int signal)
{
    (void)signal;
}

int do_timeouts(int argc, char **argv)
{
    (void)argc;
    static union address locals[ATTEMPTS_MAX];
    static int fds[ATTEMPTS_MAX];
    long times = number(argv[1], ATTEMPTS_MAX);
    int one = 1;
    union address at, local;
    net_own();
    net_deaf(&at);
    for (long i = 0; i < times; i++) {
        fds[i] = net_bound(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0, &locals[i]);
        setsockopt(fds[i], IPPROTO_TCP, TCP_SYNCNT, &one, sizeof one);
        if (connect(fds[i], &at.any, sizeof at.in) == 0 || errno != EINPROGRESS)
            broken("connect to nobody");
    }
    int fd = net_bound(AF_INET, SOCK_STREAM, 0, &local);
    setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &one, sizeof one);
    if (connect(fd, &at.any, sizeof at.in) == 0 || errno != ETIMEDOUT)
        broken("a blocking connect to nobody");
    net_tell("tcp", &local, &at, ETIMEDOUT, "");
    for (long i = 0; i < times; i++)
        net_tell("tcp", &locals[i], &at, EINPROGRESS, net_decided(fds[i], &at));
    return 0;
}

int do_interrupted(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct sigaction action = {.sa_handler = nothing};
    int one = 1;
    union address at, local;
    net_own();
    net_deaf(&at);
    int fd = net_bound(AF_INET, SOCK_STREAM, 0, &local);
    setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &one, sizeof one);
    sigaction(SIGALRM, &action, NULL);
    ualarm(100000, 0);
    if (connect(fd, &at.any, sizeof at.in) == 0 || errno != EINTR)
        broken("an interrupted connect");
    /* It goes on by itself. */
    if (strcmp(net_decided(fd, &at), "timeout") != 0)
        broken("an interrupted connect that is not timed out");
    net_tell("tcp", &local, &at, ETIMEDOUT, "");
    return 0;
}

int do_fastopen(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], ATTEMPTS_MAX);
    union address at, local;
    int listener = net_listening(AF_INET, 0, &at);
    for (long i = 0; i < times; i++) {
        int fd = net_bound(AF_INET, SOCK_STREAM, 0, &local);
        if (sendto(fd, "x", 1, MSG_FASTOPEN, &at.any, sizeof at.in) < 0)
            refused("sendto with MSG_FASTOPEN");
        net_accepted(listener, &local);
        net_tell("tcp", &local, &at, 0, "");
        close(fd);
    }
    return 0;
}

/* Datagrams with an address: two destinations a socket, each several times and by several calls. */
static void datagrams(int family, union address *first, union address *second)
{
    union address local;
    socklen_t len = sizeof local;
    struct iovec part = {.iov_base = "x", .iov_len = 1};
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct mmsghdr both[2] = {
        {.msg_hdr = {.msg_name = first, .msg_namelen = net_size(first), .msg_iov = &part, .msg_iovlen = 1}},
        {.msg_hdr = {.msg_name = second, .msg_namelen = net_size(second), .msg_iov = &part, .msg_iovlen = 1}},
    };
    if (sendto(fd, "x", 1, 0, &first->any, net_size(first)) != 1 || sendmsg(fd, &both[0].msg_hdr, 0) != 1 ||
        sendmmsg(fd, both, 2, 0) != 2 || getsockname(fd, &local.any, &len) < 0)
        broken("sending datagrams");
    net_tell("udp", &local, first, 0, "");
    net_tell("udp", &local, second, 0, "");
    close(fd);
}

int do_datagrams(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], ATTEMPTS_MAX);
    for (int v6 = 0; v6 < 2; v6++) {
        union address first, second;
        int family = v6 ? AF_INET6 : AF_INET;
        int fds[] = {net_bound(family, SOCK_DGRAM, 0, &first), net_bound(family, SOCK_DGRAM, 0, &second)};
        for (long i = 0; i < times; i++)
            datagrams(family, &first, &second);
        close(fds[0]);
        close(fds[1]);
    }
    return 0;
}

/* One submission, completed at once; every other two by a worker. */
int connect_by(struct ring *ring, long round, int fd, const union address *to)
{
    int result;
    struct io_uring_sqe *sqe = ring_next(ring);
    sqe->opcode = IORING_OP_CONNECT;
    sqe->flags = round % 4 >= 2 ? IOSQE_ASYNC : 0;
    sqe->fd = fd;
    sqe->addr = (uint64_t)(uintptr_t)to;
    sqe->off = net_size(to);
    ring_run(ring, &result);
    if (result == -EINVAL)
        refused("IORING_OP_CONNECT");
    return -result;
}

int do_uring(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], ATTEMPTS_MAX);
    union address open, closed, local;
    struct ring ring = ring_make(1, 0);
    int listener = net_listening(AF_INET, 0, &open);
    net_bound(AF_INET, SOCK_STREAM, 0, &closed);
    for (long i = 0; i < times; i++) {
        union address *to = i % 2 ? &closed : &open;
        int fd = net_bound(AF_INET, SOCK_STREAM, 0, &local);
        int error = connect_by(&ring, i, fd, to);
        if (error == 0)
            net_accepted(listener, &local);
        net_tell("tcp", &local, to, error, "");
        close(fd);
    }
    return 0;
}

int do_uring_udp(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], ATTEMPTS_MAX);
    struct ring ring = ring_make(1, 0);
    for (int v6 = 0; v6 < 2; v6++) {
        union address to, local;
        int family = v6 ? AF_INET6 : AF_INET;
        net_bound(family, SOCK_DGRAM, 0, &to);
        for (long i = 0; i < times; i++) {
            int fd = net_bound(family, SOCK_DGRAM, 0, &local);
            if (connect_by(&ring, i, fd, &to) != 0)
                broken("a UDP connect through io_uring");
            net_tell("udp", &local, &to, 0, "");
            close(fd);
        }
    }
    return 0;
}

#ifdef __x86_64__
/* Every other call through socketcall; the errno. */
int connect32(struct low *low, long round, int fd, const union address *to)
{
    low->to = *to;
    low->args[0] = (uint32_t)fd;
    low->args[1] = (uint32_t)(uintptr_t)&low->to;
    low->args[2] = net_size(to);
    return (int)-(round % 2 ? call32(102, 3, (long)(uintptr_t)low->args, 0, 0, 0)
                            : call32(362, fd, (long)(uintptr_t)&low->to, net_size(to), 0, 0));
}

int do_ia32(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], ATTEMPTS_MAX);
    union address at, local;
    struct low *low = low_memory();
    if (!low)
        refused("int 0x80");
    int listener = net_listening(AF_INET, 0, &at);
    for (long i = 0; i < times; i++) {
        int nonblocking = i % 4 >= 2;
        int fd = net_bound(AF_INET, SOCK_STREAM | (nonblocking ? SOCK_NONBLOCK : 0), 0, &local);
        int error = connect32(low, i, fd, &at);
        const char *later = error == EINPROGRESS ? net_decided(fd, &at) : "";
        if (error != 0 && error != EINPROGRESS)
            broken("a 32-bit connect");
        net_accepted(listener, &local);
        net_tell("tcp", &local, &at, error, later);
        close(fd);
    }
    return 0;
}

int do_ia32_udp(int argc, char **argv)
{
    (void)argc;
    long times = number(argv[1], ATTEMPTS_MAX);
    struct low *low = low_memory();
    if (!low)
        refused("int 0x80");
    for (int v6 = 0; v6 < 2; v6++) {
        union address to, local;
        int family = v6 ? AF_INET6 : AF_INET;
        net_bound(family, SOCK_DGRAM, 0, &to);
        for (long i = 0; i < times; i++) {
            int fd = net_bound(family, SOCK_DGRAM, 0, &local);
            if (connect32(low, i, fd, &to) != 0)
                broken("a 32-bit UDP connect");
            net_tell("udp", &local, &to, 0, "");
            close(fd);
        }
    }
    return 0;
}
#else
int do_ia32(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    errno = ENOSYS;
    refused("int 0x80");
}

int do_ia32_udp(int argc, char **argv)
{
    return do_ia32(argc, argv);
}
#endif
