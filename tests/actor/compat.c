/* Calls of 32 bits from a program of 64. */
#include "actor.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __x86_64__
long call32(long number, long a, long b, long c, long d, long e)
{
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
                     : "memory", "r8", "r9", "r10", "r11");
    return result;
}

void *low_memory(void)
{
    /* A kernel without them ends the process, so a child tries. */
    pid_t pid = fork();
    if (pid == 0)
        _exit(call32(20, 0, 0, 0, 0, 0) == getpid() ? 0 : 1);
    struct child child = reap(pid, now_ns());
    errno = ENOSYS;
    if (child.status != 0)
        return NULL;
    void *low = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    return low == MAP_FAILED ? NULL : low;
}
#else
long call32(long number, long a, long b, long c, long d, long e)
{
    (void)number, (void)a, (void)b, (void)c, (void)d, (void)e;
    return -ENOSYS;
}

void *low_memory(void)
{
    errno = ENOSYS;
    return NULL;
}
#endif
