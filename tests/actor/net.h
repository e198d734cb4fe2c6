/* What the actor's parts that connect share. An attempt is told with what the call gave back, with the local address as
 * the socket had it, and where somebody accepted it, only after the accepted peer was the same.
 */
#ifndef NET_H
#define NET_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { ATTEMPTS_MAX = 1000 };

union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

/* In low memory: pointers of a 32-bit call have 32 bits. */
struct low {
    union address to;
    uint32_t args[3];
};

socklen_t net_loopback(int family, int mapped, union address *to);
/* A socket bound to a loopback address and a port of the kernel's choice, which `at` then has. */
int net_bound(int family, int type, int mapped, union address *at);
int net_listening(int family, int mapped, union address *at);
socklen_t net_size(const union address *at);
/* One attempt: `error` is what the call failed with; `later` how a pending one ended, or "". */
void net_told(const char *family, const char *protocol, const char *local, const char *remote, int error,
              const char *later);
void net_tell(const char *protocol, const union address *local, const union address *remote, int error,
              const char *later);
/* Accepts, and holds the peer against the address that the caller's socket had. */
void net_accepted(int listener, const union address *caller);
/* Waits until a pending attempt is decided, and completes it with a second call, which is no attempt. */
const char *net_decided(int fd, const union address *to);
/* A listener that drops every packet, so that nobody answers. */
int net_deaf(union address *at);
/* A network of its own, with a loopback alone. */
void net_own(void);
/* One request of io_uring; its errno. */
int connect_by(struct ring *ring, long round, int fd, const union address *to);
/* One 32-bit call, every other through socketcall; its errno. */
int connect32(struct low *low, long round, int fd, const union address *to);

#endif
