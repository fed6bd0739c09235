#include "wsi/annot/json_priv.h"

#include "base/error.h"
#include "base/file.h"
#include "base/report.h"

#include <math.h>
#include <string.h>

enum { PIECE_BYTES = 1 << 18, DEPTH_MAX = 256, NUMBER_BYTES_MAX = 400, STRING_BYTES_MAX = 1 << 24 };

struct wsi_json {
    char *path;
    qs_file *file;
    int64_t n_bytes, next; /* of the file; first byte not yet in the piece */
    uint8_t *piece;
    size_t at, n;
    int line;
    char open[DEPTH_MAX]; /* '{' or '[' of each level */
    int depth;
    bool began, after_value, after_comma, after_key;
    GString *text;
    double number;
};

wsi_json *wsi_json_open(const char *path, GError **error)
{
    qs_file *file = qs_file_open(path, QS_FILE_READ, error);
    int64_t n_bytes = file ? qs_file_size(file, error) : -1;
    if (n_bytes < 0) {
        qs_file_close(file, NULL);
        return NULL;
    }
    wsi_json *json = g_new0(wsi_json, 1);
    json->path = g_strdup(path);
    json->file = file;
    json->n_bytes = n_bytes;
    json->piece = g_malloc(PIECE_BYTES);
    json->text = g_string_new(NULL);
    json->line = 1;
    return json;
}

void wsi_json_close(wsi_json *json)
{
    if (!json)
        return;
    qs_file_close(json->file, NULL);
    g_string_free(json->text, TRUE);
    g_free(json->piece);
    g_free(json->path);
    g_free(json);
}

const char *wsi_json_text(const wsi_json *json)
{
    return json->text->str;
}

double wsi_json_number(const wsi_json *json)
{
    return json->number;
}

int wsi_json_line(const wsi_json *json)
{
    return json->line;
}

bool wsi_json_fail(const wsi_json *json, GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s:%d: %s", json->path, json->line, what);
    return false;
}

/* ---- bytes ----------------------------------------------------------------------------------- */
enum { BYTE_END = -1, BYTE_ERROR = -2 };

static int fill(wsi_json *json, GError **error)
{
    if (json->next >= json->n_bytes)
        return BYTE_END;
    json->n = (size_t)MIN(PIECE_BYTES, json->n_bytes - json->next);
    json->at = 0;
    if (!qs_stop_check(error) ||
        !qs_file_read_at(json->file, json->next, json->piece, json->n, error))
        return BYTE_ERROR;
    json->next += (int64_t)json->n;
    return json->piece[0];
}

static inline int peek(wsi_json *json, GError **error)
{
    return json->at < json->n ? json->piece[json->at] : fill(json, error);
}

static int skip_space(wsi_json *json, GError **error)
{
    for (;;) {
        int c = peek(json, error);
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t')
            return c;
        json->line += c == '\n';
        json->at++;
    }
}

/* ---- values ---------------------------------------------------------------------------------- */
static wsi_json_token fail_at(wsi_json *json, int c, const char *where, GError **error)
{
    if (c == BYTE_END)
        wsi_json_fail(json, error, "the file ends %s; it was cut short", where);
    else if (c >= 0)
        wsi_json_fail(json, error,
                      c < 127 && c > 31 ? "unexpected '%c' %s" : "unexpected byte %d %s", c, where);
    return WSI_JSON_FAILED;
}

static bool read_hex4(wsi_json *json, gunichar *value, GError **error)
{
    *value = 0;
    for (int i = 0; i < 4; i++) {
        int c = peek(json, error);
        if (c < 0 || !g_ascii_isxdigit((char)c))
            return fail_at(json, c, "in a \\u escape", error) != WSI_JSON_FAILED;
        *value = *value * 16 + (gunichar)g_ascii_xdigit_value((char)c);
        json->at++;
    }
    return true;
}

static void append_unit(wsi_json *json, gunichar unit)
{
    bool usable = unit != 0 && !(unit >= 0xd800 && unit < 0xe000);
    g_string_append_unichar(json->text, usable ? unit : 0xfffd);
}

static bool read_escape(wsi_json *json, GError **error);

/* Behind "\u": one code unit, or two that make a pair; half pairs become U+FFFD. */
static bool read_unicode(wsi_json *json, GError **error)
{
    gunichar high, low;
    if (!read_hex4(json, &high, error))
        return false;
    if (!(high >= 0xd800 && high < 0xdc00) || peek(json, error) != '\\') {
        append_unit(json, high);
        return true;
    }
    json->at++;
    if (peek(json, error) != 'u') {
        append_unit(json, high);
        return read_escape(json, error);
    }
    json->at++;
    if (!read_hex4(json, &low, error))
        return false;
    if (low >= 0xdc00 && low < 0xe000) {
        append_unit(json, 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
    } else {
        append_unit(json, high);
        append_unit(json, low);
    }
    return true;
}

static bool read_escape(wsi_json *json, GError **error)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    int c = peek(json, error);
    const char *known = c > 0 ? strchr(from, c) : NULL;
    if (c != 'u' && !known)
        return fail_at(json, c, "behind a backslash", error) != WSI_JSON_FAILED;
    json->at++;
    if (c == 'u')
        return read_unicode(json, error);
    g_string_append_c(json->text, to[known - from]);
    return true;
}

static bool read_string(wsi_json *json, GError **error)
{
    g_string_truncate(json->text, 0);
    json->at++;
    for (;;) {
        int c = peek(json, error);
        if (c < 32)
            return fail_at(json, c, "in a string", error) != WSI_JSON_FAILED;
        json->at++;
        if (c == '"')
            break;
        if (c != '\\')
            g_string_append_c(json->text, (char)c);
        else if (!read_escape(json, error))
            return false;
        if (json->text->len > STRING_BYTES_MAX)
            return wsi_json_fail(json, error, "a string of more than %d bytes", STRING_BYTES_MAX);
    }
    if (g_utf8_validate(json->text->str, (gssize)json->text->len, NULL))
        return true;
    g_autofree char *latin = g_convert(json->text->str, (gssize)json->text->len, "UTF-8",
                                       "ISO-8859-1", NULL, NULL, NULL);
    g_string_assign(json->text, latin ? latin : "");
    return true;
}

/* [-]digits[.digits] of up to 15 digits are exact integers over exact powers of ten, so one
 * division rounds as strtod does (Clinger 1990). Everything else goes the long way. */
static bool quick_number(const char *p, size_t n, double *value)
{
    static const double ten[] = {1,   1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    int64_t digits = 0;
    int n_digits = 0, n_behind = -1;
    for (size_t i = p[0] == '-'; i < n; i++) {
        if (p[i] == '.') {
            if (n_behind >= 0)
                return false;
            n_behind = 0;
            continue;
        }
        if (!g_ascii_isdigit(p[i]) || ++n_digits > 15)
            return false;
        digits = digits * 10 + (p[i] - '0');
        n_behind += n_behind >= 0;
    }
    *value = (double)digits / ten[MAX(n_behind, 0)];
    *value = p[0] == '-' ? -*value : *value;
    return n_digits > 0;
}

/* The grammar of a number: no leading +, no leading zeros, digits on both sides of a point. */
static bool is_number(const char *p)
{
    p += *p == '-';
    if (*p == '0')
        p++;
    else if (g_ascii_isdigit(*p))
        p += strspn(p, "0123456789");
    else
        return false;
    if (*p == '.') {
        if (!g_ascii_isdigit(p[1]))
            return false;
        p++;
        p += strspn(p, "0123456789");
    }
    if (*p == 'e' || *p == 'E') {
        p += p[1] == '+' || p[1] == '-' ? 2 : 1;
        if (!g_ascii_isdigit(*p))
            return false;
        p += strspn(p, "0123456789");
    }
    return !*p;
}

static bool read_number(wsi_json *json, GError **error)
{
    char digits[NUMBER_BYTES_MAX];
    size_t n = 0;
    for (;;) {
        int c = peek(json, error);
        if (c == BYTE_ERROR)
            return false;
        if (c < 0 || !(g_ascii_isalnum((char)c) || c == '.' || c == '-' || c == '+'))
            break;
        if (n + 1 == sizeof digits)
            return wsi_json_fail(json, error, "a number of more than %zu digits", n);
        digits[n++] = (char)c;
        json->at++;
    }
    digits[n] = '\0';
    if (!is_number(digits))
        return wsi_json_fail(json, error, "\"%.40s\" is no number", digits);
    if (!quick_number(digits, n, &json->number))
        json->number = g_ascii_strtod(digits, NULL);
    return isfinite(json->number) || wsi_json_fail(json, error, "%.40s is too large", digits);
}

static wsi_json_token read_word(wsi_json *json, GError **error)
{
    static const struct {
        const char *word;
        wsi_json_token token;
    } words[] = {{"true", WSI_JSON_TRUE}, {"false", WSI_JSON_FALSE}, {"null", WSI_JSON_NULL}};
    char word[8] = "";
    for (size_t n = 0; n + 1 < sizeof word; n++) {
        int c = peek(json, error);
        if (c == BYTE_ERROR)
            return WSI_JSON_FAILED;
        if (c < 0 || !g_ascii_isalpha((char)c))
            break;
        word[n] = (char)c;
        json->at++;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
        if (!strcmp(word, words[i].word))
            return words[i].token;
    if (peek(json, error) == BYTE_END)
        return fail_at(json, BYTE_END, "in the middle of a word", error);
    wsi_json_fail(json, error, "\"%s\" is no JSON", word);
    return WSI_JSON_FAILED;
}

/* ---- structure ------------------------------------------------------------------------------- */
static wsi_json_token open_level(wsi_json *json, int c, GError **error)
{
    if (json->depth == DEPTH_MAX) {
        wsi_json_fail(json, error, "nested more than %d deep", DEPTH_MAX);
        return WSI_JSON_FAILED;
    }
    json->open[json->depth++] = (char)c;
    json->at++;
    json->after_value = json->after_comma = false;
    return c == '{' ? WSI_JSON_OBJECT : WSI_JSON_ARRAY;
}

static wsi_json_token close_level(wsi_json *json)
{
    json->depth--;
    json->at++;
    json->after_value = true;
    return json->open[json->depth] == '{' ? WSI_JSON_OBJECT_END : WSI_JSON_ARRAY_END;
}

static wsi_json_token read_value(wsi_json *json, int c, GError **error)
{
    json->after_key = json->after_comma = false;
    if (c == '{' || c == '[')
        return open_level(json, c, error);
    json->after_value = true;
    if (c == '"')
        return read_string(json, error) ? WSI_JSON_STRING : WSI_JSON_FAILED;
    if (c == '-' || (c >= '0' && c <= '9'))
        return read_number(json, error) ? WSI_JSON_NUMBER : WSI_JSON_FAILED;
    if (c >= 'a' && c <= 'z')
        return read_word(json, error);
    return fail_at(json, c, "where a value should be", error);
}

static wsi_json_token read_key(wsi_json *json, int c, GError **error)
{
    if (c != '"')
        return fail_at(json, c, "where a name should be", error);
    if (!read_string(json, error))
        return WSI_JSON_FAILED;
    c = skip_space(json, error);
    if (c != ':')
        return fail_at(json, c, "where \":\" should be", error);
    json->at++;
    json->after_key = true;
    return WSI_JSON_KEY;
}

static void skip_mark(wsi_json *json, GError **error)
{
    if (peek(json, error) == 0xef && json->n >= 3 && json->piece[1] == 0xbb &&
        json->piece[2] == 0xbf)
        json->at += 3;
    json->began = true;
}

wsi_json_token wsi_json_next(wsi_json *json, GError **error)
{
    if (!json->began)
        skip_mark(json, error);
    int c = skip_space(json, error);
    if (c == BYTE_ERROR)
        return WSI_JSON_FAILED;
    if (json->depth == 0) {
        if (!json->after_value)
            return read_value(json, c, error);
        return c == BYTE_END ? WSI_JSON_END : fail_at(json, c, "behind the end", error);
    }
    if (json->after_key)
        return read_value(json, c, error);
    bool object = json->open[json->depth - 1] == '{';
    if (!json->after_comma && c == (object ? '}' : ']'))
        return close_level(json);
    if (json->after_value) {
        if (c != ',')
            return fail_at(json, c, object ? "inside an object" : "inside a list", error);
        json->at++;
        json->after_value = false;
        json->after_comma = true;
        c = skip_space(json, error);
    }
    return object ? read_key(json, c, error) : read_value(json, c, error);
}

bool wsi_json_skip(wsi_json *json, wsi_json_token token, GError **error)
{
    if (token == WSI_JSON_FAILED)
        return false;
    if (token != WSI_JSON_OBJECT && token != WSI_JSON_ARRAY)
        return true;
    for (int depth = json->depth; json->depth >= depth;)
        if (wsi_json_next(json, error) == WSI_JSON_FAILED)
            return false;
    return true;
}
