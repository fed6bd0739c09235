/* Any bytes as a blob of the store: the first byte chooses the format and the patch's side, the
 * rest is decoded as image and as label. What decodes is encoded again and must decode to the same
 * pixels. */
#include "db/store_priv.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

enum { SIDE_MAX = 64 };

static void round_trip(const uint8_t *rgb, int side)
{
    static uint8_t again[SIDE_MAX * SIDE_MAX * 3];
    static db_blob blob;
    db_store_config config = {.patch_px = side, .codec = DB_CODEC_ZSTD};
    if (!db_encode_image(&config, rgb, side, &blob, NULL) || blob.n > db_format_bound(side) ||
        !db_format_decode_image(db_format_of(&config), blob.data, blob.n, side, again, NULL) ||
        memcmp(rgb, again, (size_t)side * (size_t)side * 3) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const int sides[] = {8, 16, 31, 64};
    static uint8_t rgb[SIDE_MAX * SIDE_MAX * 3], label[SIDE_MAX * SIDE_MAX];
    if (n < 1)
        return 0;
    int format = data[0] & 7, side = sides[data[0] >> 3 & 3];
    GError *error = NULL;
    bool ok = db_format_decode_image(format, data + 1, n - 1, side, rgb, &error);
    if (ok == (error != NULL))
        abort();
    g_clear_error(&error);
    if (ok)
        round_trip(rgb, side);
    ok = db_format_decode_label(data + 1, n - 1, side, label, &error);
    if (ok == (error != NULL))
        abort();
    g_clear_error(&error);
    return 0;
}
