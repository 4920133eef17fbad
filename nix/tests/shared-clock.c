/* The checker of signatures compares times of several homes by the boot clock, which machines with a
 * kernel each do not share. Preloaded into the stand-in, this gives it the wall clock instead, which
 * virtual machines have from their host. Nothing else is changed, and no other program has it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return real(clock == CLOCK_BOOTTIME ? CLOCK_REALTIME : clock, time);
}
