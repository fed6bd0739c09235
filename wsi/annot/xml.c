/* See annot_xml_priv.h. The only file that includes libxml2. The push parser is fed in pieces, so
 * memory does not grow with the file; only a DTD, if there is one, is kept. */
#include "wsi/annot/xml_priv.h"

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
    GPtrArray *attributes; /* of the element: name (borrowed), value (owned), …, NULL */
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

static void clear_attributes(xml_state *state)
{
    for (guint i = 1; i < state->attributes->len; i += 2)
        g_free(g_ptr_array_index(state->attributes, i));
    g_ptr_array_set_size(state->attributes, 0);
}

/* libxml2 gives five pointers an attribute: name, prefix, URI, and the value's two ends. */
static void take_attributes(xml_state *state, int n, const xmlChar **attributes)
{
    clear_attributes(state);
    for (int i = 0; i < n; i++) {
        const xmlChar *const *a = attributes + 5 * i;
        g_ptr_array_add(state->attributes, (gpointer)(guintptr)a[0]);
        g_ptr_array_add(state->attributes, g_strndup((const char *)a[3], (gsize)(a[4] - a[3])));
    }
    g_ptr_array_add(state->attributes, NULL);
}

static void on_start(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri,
                     int n_namespaces, const xmlChar **namespaces, int n_attributes,
                     int n_defaulted, const xmlChar **attributes)
{
    xml_state *state = state_of(ctx);
    (void)prefix, (void)uri, (void)n_namespaces, (void)namespaces, (void)n_defaulted;
    if (state->error)
        return;
    if (++state->n_elements * ELEMENT_BYTES_MIN > state->n_bytes) {
        g_set_error(&state->error, QS_ERROR, QS_ERROR_FORMAT,
                    "more elements than the file has room for: its entities multiply them");
        stop(state);
        return;
    }
    take_attributes(state, n_attributes, attributes);
    if (!state->handler->start(state->handler->user, (const char *)name,
                               (const char *const *)(void *)state->attributes->pdata,
                               &state->error))
        stop(state);
}

static void on_end(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
    (void)prefix, (void)uri;
    xml_state *state = state_of(ctx);
    if (!state->error &&
        !state->handler->end(state->handler->user, (const char *)name, &state->error))
        stop(state);
}

static void on_error(void *ctx, xmlErrorPtr e)
{
    xml_state *state = state_of(ctx);
    if (!state || state->error || e->level < XML_ERR_ERROR)
        return;
    g_autofree char *text =
        g_strstrip(g_utf8_make_valid(e->message ? e->message : "no reason given", -1));
    state->error = g_error_new(QS_ERROR, QS_ERROR_FORMAT, "%s:%d: damaged XML: %s", state->path,
                               e->line, text);
}

static void on_nothing(void *ctx, const xmlChar *text, int n)
{
    (void)ctx, (void)text, (void)n;
}

static void on_reference(void *ctx, const xmlChar *name)
{
    (void)ctx, (void)name;
}

/* Entities that stand in other files do not exist here: this is what keeps the parser from
 * fetching. */
static xmlEntityPtr inner_entity(void *ctx, const xmlChar *name)
{
    xmlEntityPtr entity = xmlSAX2GetEntity(ctx, name);
    return entity && entity->etype == XML_EXTERNAL_GENERAL_PARSED_ENTITY ? NULL : entity;
}

static xmlEntityPtr inner_parameter_entity(void *ctx, const xmlChar *name)
{
    xmlEntityPtr entity = xmlSAX2GetParameterEntity(ctx, name);
    return entity && entity->etype == XML_EXTERNAL_PARAMETER_ENTITY ? NULL : entity;
}

static void fill_handler(xmlSAXHandler *sax)
{
    xmlSAXVersion(sax, 2);
    sax->startElementNs = on_start;
    sax->endElementNs = on_end;
    sax->characters = sax->ignorableWhitespace = sax->cdataBlock = on_nothing;
    sax->reference = on_reference;
    sax->getEntity = inner_entity;
    sax->getParameterEntity = inner_parameter_entity;
    sax->resolveEntity = NULL;
    sax->externalSubset = NULL;
    sax->comment = NULL;
    sax->processingInstruction = NULL;
    sax->error = sax->fatalError = NULL;
    sax->warning = NULL;
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
        state.attributes = g_ptr_array_new();
        state.main = xmlCreatePushParserCtxt(&sax, NULL, NULL, 0, NULL);
        state.main->_private = &state;
        /* Not DTDLOAD, DTDATTR, XINCLUDE or HUGE: limits stay on and nothing is fetched. NOENT
         * expands the entities that inner_entity lets through. */
        xmlCtxtUseOptions(state.main, XML_PARSE_NONET | XML_PARSE_NOWARNING | XML_PARSE_NOENT);
        ok = feed(&state, file, error);
        xmlFreeDoc(state.main->myDoc);
        state.main->myDoc = NULL;
        xmlFreeParserCtxt(state.main);
        clear_attributes(&state);
        g_ptr_array_unref(state.attributes);
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
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s=\"%.40s\" of a point is no number", name,
                text);
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
            return p[0] == '<' && !strncmp(p + 1, element, k) &&
                   strchr(" \t\r\n/>", p[1 + k]) != NULL;
        }
    }
    return false;
}
