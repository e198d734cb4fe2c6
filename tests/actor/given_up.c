/* Blocking TCP attempts that another thread gives up: it takes them away, or what stands for them. */
#include "actor.h"
#include "net.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

/* Longest that one waits. */
enum { WAIT_US = 300000, LOOK_US = 1000 };

static const char *const WAYS[] = {"disconnected", "shut-down", "replaced", "closed"};

struct attempt {
    int fd;
    int way;
};

static void *gives_up(void *argument)
{
    struct attempt *attempt = argument;
    struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    int other, failed = 0;
    /* Not before the attempt is under way. */
    struct tcp_info info;
    socklen_t len = sizeof info;
    while (getsockopt(attempt->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_state != TCP_SYN_SENT)
        usleep(LOOK_US);
    switch (attempt->way) {
    case 0:
        failed = connect(attempt->fd, &nowhere, sizeof nowhere);
        break;
    case 1:
        failed = shutdown(attempt->fd, SHUT_RDWR);
        break;
    case 2:
        other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        failed = dup2(other, attempt->fd) < 0;
        close(other);
        break;
    default:
        failed = close(attempt->fd);
    }
    /* Some kernels (5.10) refuse the first two while a call waits: then it is left to its time. */
    if (failed && errno != EBUSY)
        broken(WAYS[attempt->way]);
    return NULL;
}

int do_given_up(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    union address at, local;
    pthread_t other;
    struct timeval wait = {.tv_usec = WAIT_US};
    net_own();
    net_deaf(&at);
    for (int way = 0; way < (int)(sizeof WAYS / sizeof *WAYS); way++) {
        struct attempt attempt = {net_bound(AF_INET, SOCK_STREAM, 0, &local), way};
        if (setsockopt(attempt.fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) < 0)
            broken("SO_SNDTIMEO");
        if (pthread_create(&other, NULL, gives_up, &attempt) != 0)
            broken("pthread_create");
        if (connect(attempt.fd, &at.any, sizeof at.in) == 0)
            broken("connect to nobody");
        pthread_join(other, NULL);
        dprintf(1, "{\"act\":\"given-up\",\"way\":\"%s\",\"port\":%d}\n", WAYS[way], ntohs(local.in.sin_port));
        close(attempt.fd);
    }
    return 0;
}
