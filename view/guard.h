/* Who may ask: the page itself and nobody else.
 *
 * The server listens on 127.0.0.1 only, but every web page that the user's browser has open can
 * send requests there, and so can other users of the machine. A request is let in when every rule
 * of the table in guard.c holds. There are no cookies, so another page has nothing to ride on. */
#ifndef QS_VIEW_GUARD_H
#define QS_VIEW_GUARD_H

#include "view/request.h"

enum { VW_TOKEN_LETTERS = 32, VW_GUARD_RULES = 7 };

typedef struct {
    char token[VW_TOKEN_LETTERS + 1]; /* 128 bits, hexadecimal */
    int port;
    unsigned without; /* rules left out, a bit each: for the tests, which must notice; else 0 */
} vw_guard;

/* A new token from the system's generator. */
bool vw_guard_init(vw_guard *guard, GError **error);
/* 0 when the request is let in, and then *rest is what follows "/TOKEN/"; else the status of the
 * refusal. */
unsigned vw_guard_admit(const vw_guard *guard, const vw_request *request, const char **rest);
const char *vw_guard_rule_name(int rule); /* 0 … VW_GUARD_RULES - 1 */

#endif
