/* A Huffman code for bytes and its description, as zstd writes them (RFC 8878, 4.1 and 4.2).
 *
 * Lengths: Huffman's tree over the sorted counts, then no code longer than 11 bits. The description
 * lists a weight a symbol, itself coded by a small finite-state entropy table (FSE): 255 weights in
 * some 30 to 100 bytes. */
#include "db/huffman.h"

#include <stdbool.h>
#include <string.h>

enum { N = 256, FSE_LOG = 6, FSE_SIZE = 1 << FSE_LOG, N_WEIGHTS = DB_CODE_BITS + 1 };

/* ---- lengths --------------------------------------------------------------------------------- */

/* Symbols that have a count, rarest first, equal ones by value: two passes of a radix sort. */
static int by_count(const uint32_t count[N], uint8_t sorted[N])
{
    uint8_t half[N];
    int n = 0;
    for (int pass = 0; pass < 2; pass++) {
        int start[N + 1] = {0};
        int m = pass ? n : N;
        for (int i = 0; i < m; i++) {
            int s = pass ? half[i] : i;
            if (count[s])
                start[(count[s] >> (8 * pass) & 255) + 1]++;
        }
        for (int i = 0; i < N; i++)
            start[i + 1] += start[i];
        n = start[N];
        for (int i = 0; i < m; i++) {
            int s = pass ? half[i] : i;
            if (count[s])
                (pass ? sorted : half)[start[count[s] >> (8 * pass) & 255]++] = (uint8_t)s;
        }
    }
    return n;
}

/* Depth of every leaf in Huffman's tree over the n sorted counts. Nodes 0…n−1 are leaves, the inner
 * ones follow in the order of their making, which is that of their sums: two queues, no heap. */
static void depths(const uint32_t count[N], const uint8_t sorted[N], int n, int depth[2 * N])
{
    uint32_t sum[2 * N];
    int parent[2 * N];
    for (int i = 0; i < n; i++)
        sum[i] = count[sorted[i]];
    int leaf = 0, inner = n, root = 2 * n - 2;
    for (int node = n; node <= root; node++) {
        sum[node] = 0;
        for (int child = 0; child < 2; child++) {
            bool take_leaf = leaf < n && (inner >= node || sum[leaf] <= sum[inner]);
            int taken = take_leaf ? leaf++ : inner++;
            parent[taken] = node;
            sum[node] += sum[taken];
        }
    }
    depth[root] = 0;
    for (int node = root - 1; node >= 0; node--)
        depth[node] = depth[parent[node]] + 1;
}

/* How many codes of each length, none over 11 bits, still complete: leaves that were deeper come up
 * to 11, and shorter codes are made longer until there is room for them. */
static void limit(const int depth[2 * N], int n, int of_length[DB_CODE_BITS + 1])
{
    int used = 0; /* of 2^11 */
    memset(of_length, 0, sizeof(int) * (DB_CODE_BITS + 1));
    for (int i = 0; i < n; i++) {
        int d = depth[i] < DB_CODE_BITS ? depth[i] : DB_CODE_BITS;
        of_length[d]++;
        used += 1 << (DB_CODE_BITS - d);
    }
    while (used > 1 << DB_CODE_BITS) {
        int d = DB_CODE_BITS - 1;
        while (!of_length[d])
            d--;
        of_length[d]--;
        of_length[d + 1]++;
        used -= 1 << (DB_CODE_BITS - d - 1);
    }
    for (; used < 1 << DB_CODE_BITS; used++) { /* the last step took more than it had to */
        of_length[DB_CODE_BITS]--;
        of_length[DB_CODE_BITS - 1]++;
    }
}

void db_code_lengths(const uint32_t count[256], uint8_t bits[256])
{
    uint8_t sorted[N];
    int depth[2 * N], of_length[DB_CODE_BITS + 1];
    int n = by_count(count, sorted);
    depths(count, sorted, n, depth);
    limit(depth, n, of_length);
    memset(bits, 0, N);
    int i = 0;
    for (int length = DB_CODE_BITS; length > 0; length--)
        for (int k = 0; k < of_length[length]; k++)
            bits[sorted[i++]] = (uint8_t)length;
}

/* ---- the code -------------------------------------------------------------------------------- */

static int longest(const uint8_t bits[N])
{
    int most = 0;
    for (int s = 0; s < N; s++)
        most = bits[s] > most ? bits[s] : most;
    return most;
}

void db_code_table(const uint8_t bits[256], uint64_t table[256])
{
    uint32_t of_length[DB_CODE_BITS + 2] = {0}, next[DB_CODE_BITS + 2] = {0};
    for (int s = 0; s < N; s++)
        of_length[bits[s]]++;
    /* The longest codes count up from 0; a shorter one begins where they end, a bit dropped. */
    for (int length = longest(bits); length > 0; length--)
        next[length - 1] = (next[length] + of_length[length]) >> 1;
    for (int s = 0; s < N; s++)
        table[s] = bits[s] ? (uint64_t)next[bits[s]]++ << (64 - bits[s]) | bits[s] : 0;
}

/* ---- its description ------------------------------------------------------------------------- */

typedef struct {
    uint8_t *at;
    uint64_t bits;
    int n;
} bit_writer;

static void put(bit_writer *w, uint32_t value, int n)
{
    w->bits |= (uint64_t)value << w->n;
    for (w->n += n; w->n >= 8; w->n -= 8, w->bits >>= 8)
        *w->at++ = (uint8_t)w->bits;
}

static void put_rest(bit_writer *w)
{
    if (w->n > 0)
        *w->at++ = (uint8_t)w->bits;
    w->bits = 0;
    w->n = 0;
}

static int log2_floor(uint32_t x)
{
    return 31 - __builtin_clz(x);
}

/* Shares of the table's 64 states: proportional, one at least for a weight that occurs, and all
 * handed out. False when only one weight occurs. */
static bool shares(const uint8_t *weight, int n, int share[N_WEIGHTS])
{
    int count[N_WEIGHTS] = {0}, kinds = 0, given = 0, most = 0;
    for (int i = 0; i < n; i++)
        count[weight[i]]++;
    for (int w = 0; w < N_WEIGHTS; w++) {
        share[w] = count[w] * FSE_SIZE / n;
        if (count[w] && !share[w])
            share[w] = 1;
        kinds += count[w] > 0;
        given += share[w];
        most = share[w] > share[most] ? w : most;
    }
    share[most] += FSE_SIZE - given;
    return kinds > 1;
}

/* FSE_Table_Description (4.1.1): a share is written in as many bits as the points left ask for, and
 * after a zero come counts of further zeros, two bits each. */
static void put_shares(bit_writer *w, const int share[N_WEIGHTS])
{
    put(w, FSE_LOG - 5, 4);
    int left = FSE_SIZE;
    for (int s = 0; left > 0; s++) {
        uint32_t most = (uint32_t)left + 1, value = (uint32_t)share[s] + 1;
        int n = log2_floor(most) + 1;
        uint32_t low = (1u << n) - 1 - most, half = 1u << (n - 1);
        if (value < low)
            put(w, value, n - 1);
        else
            put(w, value < half ? value : value + low, n);
        left -= share[s];
        if (share[s])
            continue;
        int zeros = 0;
        while (!share[s + 1 + zeros])
            zeros++;
        s += zeros;
        for (; zeros >= 3; zeros -= 3)
            put(w, 3, 2);
        put(w, (uint32_t)zeros, 2);
    }
}

typedef struct {
    uint8_t n, base; /* of a state: the bits that are read to leave it, and what is added */
    uint8_t before[N_WEIGHTS]; /* the state from which a weight leads here */
    uint8_t first;             /* of weight (index): its state with the most bits */
} fse_state;

/* The decoder's table (4.1.1), turned round: for the state that shall come after, and a weight, the
 * state that says this weight and can go there. */
static void make_states(const int share[N_WEIGHTS], fse_state state[FSE_SIZE])
{
    uint8_t says[FSE_SIZE];
    uint32_t next[N_WEIGHTS];
    int at = 0;
    for (int w = 0; w < N_WEIGHTS; w++) {
        next[w] = (uint32_t)share[w];
        for (int k = 0; k < share[w]; k++) {
            says[at] = (uint8_t)w;
            at = (at + (FSE_SIZE >> 1) + (FSE_SIZE >> 3) + 3) & (FSE_SIZE - 1);
        }
    }
    for (int i = 0; i < FSE_SIZE; i++) {
        int w = says[i];
        uint32_t x = next[w]++;
        int n = FSE_LOG - log2_floor(x), base = (int)(x << n) - FSE_SIZE;
        state[i].n = (uint8_t)n;
        state[i].base = (uint8_t)base;
        if (x == (uint32_t)share[w])
            state[w].first = (uint8_t)i;
        for (int k = 0; k < 1 << n; k++)
            state[base + k].before[w] = (uint8_t)i;
    }
}

/* The weights by two states in turn, written last first so that they are read first first. The
 * reader stops when a state asks for bits that are not there, so the last two must ask for some:
 * they begin in a state that does. */
static size_t put_weights(const uint8_t *weight, int n, uint8_t *dst)
{
    int share[N_WEIGHTS];
    if (n < 2 || !shares(weight, n, share))
        return 0;
    fse_state state[FSE_SIZE];
    make_states(share, state);
    bit_writer w = {.at = dst};
    put_shares(&w, share);
    put_rest(&w);
    int now[2];
    now[(n - 1) & 1] = state[weight[n - 1]].first;
    now[(n - 2) & 1] = state[weight[n - 2]].first;
    for (int i = n - 3; i >= 0; i--) {
        int to = now[i & 1], from = state[to].before[weight[i]];
        put(&w, (uint32_t)(to - state[from].base), state[from].n);
        now[i & 1] = from;
    }
    put(&w, (uint32_t)now[1], FSE_LOG);
    put(&w, (uint32_t)now[0], FSE_LOG);
    put(&w, 1, 1); /* where the reader begins */
    put_rest(&w);
    return (size_t)(w.at - dst);
}

size_t db_code_describe(const uint8_t bits[256], uint8_t *dst)
{
    uint8_t weight[N], coded[N];
    int most = longest(bits), last = N - 1;
    while (last > 0 && !bits[last])
        last--;
    for (int s = 0; s < last; s++) /* the last symbol's follows from the others' */
        weight[s] = (uint8_t)(bits[s] ? most + 1 - bits[s] : 0);
    size_t n = put_weights(weight, last, coded);
    if (n > 0 && n < 128) {
        dst[0] = (uint8_t)n;
        memcpy(dst + 1, coded, n);
        return 1 + n;
    }
    if (last > 128)
        return 0;
    dst[0] = (uint8_t)(127 + last);
    weight[last] = 0;
    for (int s = 0; s < last; s += 2)
        dst[1 + s / 2] = (uint8_t)(weight[s] << 4 | weight[s + 1]);
    return 1 + (size_t)(last + 1) / 2;
}
