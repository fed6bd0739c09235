/* See annot_xml_priv.h. The only file that includes libxml2. The push parser is fed in pieces, so
 * memory does not grow with the file; only a DTD, if there is one, is kept. */
#include "wsi/annot_xml_priv.h"

#include "base/error.h"
#include "base/file.h"
#include "base/report.h"

#include <libxml/SAX2.h>
#include <libxml/parser.h>

#include <string.h>

enum { PIECE_BYTES = 65536, ELEMENT_BYTES_MIN = 4 /* "<a/>" */ };

typedef struct {
    const char *path;
    const wsi_xml_handler *handler;
    int64_t n_bytes, n_elements;
    GError *error; /* the first one, ours or the parser's */
    xmlParserCtxtPtr main;
} xml_state;

static xml_state *state_of(void *ctx)
{
    return ((xmlParserCtxtPtr)ctx)->_private;
}

static void stop(xml_state *state)
{
    if (state->error && !g_str_has_prefix(state->error->message, state->path))
        g_prefix_error(&state->error, "%s:%d: ", state->path, xmlSAX2GetLineNumber(state->main));
    xmlStopParser(state->main);
}

static void on_start(void *ctx, const xmlChar *name, const xmlChar **attributes)
{
    xml_state *state = state_of(ctx);
    if (state->error)
        return;
    if (++state->n_elements * ELEMENT_BYTES_MIN > state->n_bytes) {
        g_set_error(&state->error, QS_ERROR, QS_ERROR_FORMAT,
                    "more elements than the file has room for: its entities multiply them");
        stop(state);
        return;
    }
    if (!state->handler->start(state->handler->user, (const char *)name,
                               (const char *const *)attributes, &state->error))
        stop(state);
}

static void on_end(void *ctx, const xmlChar *name)
{
    xml_state *state = state_of(ctx);
    if (!state->error && !state->handler->end(state->handler->user, (const char *)name, &state->error))
        stop(state);
}

static void on_error(void *ctx, xmlErrorPtr e)
{
    xml_state *state = state_of(ctx);
    if (!state || state->error || e->level < XML_ERR_ERROR)
        return;
    g_autofree char *text = g_strstrip(g_utf8_make_valid(e->message ? e->message : "no reason given", -1));
    state->error =
        g_error_new(QS_ERROR, QS_ERROR_FORMAT, "%s:%d: damaged XML: %s", state->path, e->line, text);
}

static void on_nothing(void *ctx, const xmlChar *text, int n)
{
    (void)ctx, (void)text, (void)n;
}

static void on_reference(void *ctx, const xmlChar *name)
{
    (void)ctx, (void)name;
}

static void fill_handler(xmlSAXHandler *sax)
{
    xmlSAXVersion(sax, 1);
    sax->startElement = on_start;
    sax->endElement = on_end;
    sax->characters = sax->ignorableWhitespace = sax->cdataBlock = on_nothing;
    sax->reference = on_reference;
    sax->comment = NULL;
    sax->processingInstruction = NULL;
    sax->error = sax->fatalError = NULL;
    sax->warning = NULL;
    sax->initialized = XML_SAX2_MAGIC; /* for serror, the structured error handler */
    sax->startElementNs = NULL;        /* without these the two handlers above are used */
    sax->endElementNs = NULL;
    sax->serror = on_error;
}

static bool feed(xml_state *state, qs_file *file, GError **error)
{
    g_autofree char *piece = g_malloc(PIECE_BYTES);
    for (int64_t at = 0; at < state->n_bytes && !state->error; at += PIECE_BYTES) {
        size_t n = (size_t)MIN(PIECE_BYTES, state->n_bytes - at);
        if (!qs_stop_check(error) || !qs_file_read_at(file, at, piece, n, error))
            return false;
        xmlParseChunk(state->main, piece, (int)n, 0);
    }
    if (!state->error)
        xmlParseChunk(state->main, piece, 0, 1);
    if (!state->error && !state->main->wellFormed)
        state->error = g_error_new(QS_ERROR, QS_ERROR_FORMAT, "%s: damaged XML", state->path);
    return true;
}

static gpointer start_libxml(gpointer unused)
{
    (void)unused;
    xmlInitParser();
    return NULL;
}

bool wsi_xml_parse(const char *path, const wsi_xml_handler *handler, GError **error)
{
    static GOnce once = G_ONCE_INIT;
    g_once(&once, start_libxml, NULL);
    qs_file *file = qs_file_open(path, QS_FILE_READ, error);
    if (!file)
        return false;
    xml_state state = {.path = path, .handler = handler, .n_bytes = qs_file_size(file, error)};
    xmlSAXHandler sax = {0};
    fill_handler(&sax);
    bool ok = state.n_bytes >= 0;
    if (ok) {
        state.main = xmlCreatePushParserCtxt(&sax, NULL, NULL, 0, NULL);
        state.main->_private = &state;
        /* Not NOENT, DTDLOAD, DTDATTR, XINCLUDE or HUGE: limits stay on and nothing is fetched. */
        xmlCtxtUseOptions(state.main, XML_PARSE_NONET | XML_PARSE_NOWARNING);
        ok = feed(&state, file, error);
        xmlFreeDoc(state.main->myDoc);
        state.main->myDoc = NULL;
        xmlFreeParserCtxt(state.main);
    }
    qs_file_close(file, NULL);
    if (ok && state.error) {
        g_propagate_error(error, g_steal_pointer(&state.error));
        ok = false;
    }
    g_clear_error(&state.error);
    return ok;
}

const char *wsi_xml_attribute(const char *const *attributes, const char *name)
{
    for (; attributes && attributes[0]; attributes += 2)
        if (!strcmp(attributes[0], name))
            return attributes[1];
    return NULL;
}

bool wsi_xml_number(const char *const *attributes, const char *name, double *value, GError **error)
{
    const char *text = wsi_xml_attribute(attributes, name);
    char *end = NULL;
    if (!text) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "a point has no %s", name);
        return false;
    }
    *value = g_ascii_strtod(text, &end);
    /* Some writers follow the user's language: 12,5 */
    if (end && *end == ',' && g_ascii_isdigit(end[1]) && !strchr(text, '.')) {
        g_autofree char *point = g_strdelimit(g_strdup(text), ",", '.');
        *value = g_ascii_strtod(point, &end);
        if (!*end)
            return true;
        end = NULL;
    }
    if (end && end != text && !*end)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s=\"%.40s\" of a point is no number", name, text);
    return false;
}

/* Behind what `end` closes; NULL when it does not come. */
static const char *past(const char *p, const char *close)
{
    const char *at = strstr(p, close);
    return at ? at + strlen(close) : NULL;
}

bool wsi_xml_root_is(const char *head, size_t n, const char *element)
{
    (void)n; /* the head ends with a NUL */
    const char *p = head;
    while (p) {
        while (g_ascii_isspace(*p))
            p++;
        if (!strncmp(p, "<?", 2)) {
            p = past(p, "?>");
        } else if (!strncmp(p, "<!--", 4)) {
            p = past(p, "-->");
        } else if (!strncmp(p, "<!DOCTYPE", 9)) {
            const char *bracket = strpbrk(p, "[>");
            p = bracket && *bracket == '[' ? past(bracket, "]") : p;
            p = p ? past(p, ">") : NULL;
        } else {
            size_t k = strlen(element);
            return p[0] == '<' && !strncmp(p + 1, element, k) && strchr(" \t\r\n/>", p[1 + k]) != NULL;
        }
    }
    return false;
}
