/* What the fuzz targets share. A target is one function that takes any bytes; libFuzzer calls it
 * with clang, replay.c with any compiler. */
#ifndef QS_TESTS_FUZZ_FUZZ_H
#define QS_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Aborts when something that must hold does not. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { FUZZ_PATH = 64 };

/* The bytes as a file that is nowhere on a disk; its path is good until fuzz_close. */
static inline int fuzz_open(const uint8_t *data, size_t n, char path[FUZZ_PATH])
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, n) != (ssize_t)n)
        abort();
    snprintf(path, FUZZ_PATH, "/proc/self/fd/%d", fd);
    return fd;
}

static inline void fuzz_close(int fd)
{
    close(fd);
}

#endif
