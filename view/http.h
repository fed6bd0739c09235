/* The server: 127.0.0.1 and nothing else, limits on everything that a client can send. The file
 * that includes microhttpd.h. */
#ifndef QS_VIEW_HTTP_H
#define QS_VIEW_HTTP_H

#include "view/answer.h"

typedef struct vw_http vw_http;

typedef struct {
    int port;   /* 0: a free one */
    int idle_s; /* 0: 30; a connection on which nothing comes is closed */
} vw_http_options;

enum { VW_CONNECTIONS_MAX = 32 };

/* Sets guard->port. service and guard are borrowed and must outlive it. QS_ERROR_IO names the port.
 */
vw_http *vw_http_start(vw_service *service, vw_guard *guard, const vw_http_options *options,
                       GError **error);
/* Waits for the requests that are being answered. NULL accepted. */
void vw_http_stop(vw_http *http);

#endif
