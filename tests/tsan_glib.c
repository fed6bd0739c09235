/* GLib's locks, seen by ThreadSanitizer.
 *
 * Debian's GLib is not instrumented and its locks are futexes, so ThreadSanitizer sees no order
 * between threads that they order and reports every guarded access. In the tsan build this file
 * stands in front of GLib's functions: each calls the real one and tells the sanitizer what was
 * acquired or released. What is not guarded by a lock stays reported. */
#include <dlfcn.h>
#include <glib.h>
#include <string.h>

void __tsan_acquire(void *at);
void __tsan_release(void *at);

/* The real function behind `name`. ISO C has no cast from void * to a function pointer; POSIX
 * guarantees that the copy works. Looked up each time: a cache would be one more race. */
#define REAL(type, name)                                                                           \
    type real;                                                                                     \
    void *symbol = dlsym(RTLD_NEXT, name);                                                         \
    memcpy(&real, &symbol, sizeof real);

typedef void (*lock_fn)(void *);
typedef gboolean (*try_fn)(void *);
typedef void (*wait_fn)(GCond *, GMutex *);
typedef gboolean (*wait_until_fn)(GCond *, GMutex *, gint64);
typedef void (*push_fn)(GAsyncQueue *, gpointer);
typedef gpointer (*pop_fn)(GAsyncQueue *);

#define LOCK(name, object)                                                                         \
    void name(object *o)                                                                           \
    {                                                                                              \
        REAL(lock_fn, #name)                                                                       \
        real(o);                                                                                   \
        __tsan_acquire(o);                                                                         \
    }
#define UNLOCK(name, object)                                                                       \
    void name(object *o)                                                                           \
    {                                                                                              \
        REAL(lock_fn, #name)                                                                       \
        __tsan_release(o);                                                                         \
        real(o);                                                                                   \
    }
#define TRYLOCK(name, object)                                                                      \
    gboolean name(object *o)                                                                       \
    {                                                                                              \
        REAL(try_fn, #name)                                                                        \
        gboolean got = real(o);                                                                    \
        if (got)                                                                                   \
            __tsan_acquire(o);                                                                     \
        return got;                                                                                \
    }

LOCK(g_mutex_lock, GMutex)
UNLOCK(g_mutex_unlock, GMutex)
TRYLOCK(g_mutex_trylock, GMutex)
LOCK(g_rec_mutex_lock, GRecMutex)
UNLOCK(g_rec_mutex_unlock, GRecMutex)
LOCK(g_rw_lock_reader_lock, GRWLock)
UNLOCK(g_rw_lock_reader_unlock, GRWLock)
LOCK(g_rw_lock_writer_lock, GRWLock)
UNLOCK(g_rw_lock_writer_unlock, GRWLock)

void g_cond_wait(GCond *cond, GMutex *mutex)
{
    REAL(wait_fn, "g_cond_wait")
    __tsan_release(mutex);
    real(cond, mutex);
    __tsan_acquire(mutex);
}

gboolean g_cond_wait_until(GCond *cond, GMutex *mutex, gint64 end_time)
{
    REAL(wait_until_fn, "g_cond_wait_until")
    __tsan_release(mutex);
    gboolean signalled = real(cond, mutex, end_time);
    __tsan_acquire(mutex);
    return signalled;
}

void g_async_queue_push(GAsyncQueue *queue, gpointer data)
{
    REAL(push_fn, "g_async_queue_push")
    __tsan_release(queue);
    real(queue, data);
}

gpointer g_async_queue_pop(GAsyncQueue *queue)
{
    REAL(pop_fn, "g_async_queue_pop")
    gpointer data = real(queue);
    __tsan_acquire(queue);
    return data;
}
