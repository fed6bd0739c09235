/* Any bytes as an edit: it is refused with a message, or answered with JSON. */
#include "tests/fuzz/fuzz.h"
#include "view/edit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    GError *error = NULL;
    GBytes *bytes = vw_edit((const char *)data, (gssize)n, 300, 200, &error);
    if ((bytes == NULL) == (error == NULL))
        abort();
    if (bytes) {
        gsize size;
        const char *text = g_bytes_get_data(bytes, &size);
        g_autoptr(JsonParser) parser = json_parser_new();
        if (!json_parser_load_from_data(parser, text, (gssize)size, NULL))
            abort();
        g_bytes_unref(bytes);
    }
    g_clear_error(&error);
    return 0;
}
