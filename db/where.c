/* See where.h. A recursive descent into postfix code, which a patch is run through on a stack of
 * bits: nesting is limited to its 64. */
#include "db/where.h"

#include "base/error.h"

#include <string.h>

enum { DEPTH_MAX = 64 };

typedef enum { OP_AND, OP_OR, OP_NOT, OP_GE, OP_GT, OP_LE, OP_LT, OP_EQ, OP_NE } opcode;

typedef struct {
    opcode op;
    size_t member; /* comparisons: offset of the number in db_patch */
    double value;
} step;

struct db_where {
    GArray *steps; /* of step, postfix */
};

static const struct {
    const char *name;
    size_t member;
} numbers[] = {
    {"tissue", offsetof(db_patch, tissue)}, {"white", offsetof(db_patch, white)},
    {"dark", offsetof(db_patch, dark)},     {"saturation", offsetof(db_patch, saturation)},
    {"blur", offsetof(db_patch, blur)},     {"pen", offsetof(db_patch, pen)},
};

static const struct {
    const char *text;
    opcode op;
} operators[] = {{">=", OP_GE}, {"<=", OP_LE}, {"==", OP_EQ}, {"!=", OP_NE},
                 {">", OP_GT},  {"<", OP_LT},  {"=", OP_EQ}};

typedef struct {
    const char *text, *at;
    GArray *steps;
    int depth;
} parser;

/* ---- reading --------------------------------------------------------------------------------- */
static bool fail(const parser *p, const char *wanted, GError **error)
{
    bool end = !*p->at;
    g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                "condition \"%s\": %s wanted %s%s%s; as in \"blur>=20 and pen<0.05\", of tissue, "
                "white, dark, saturation, blur, pen",
                p->text, wanted, end ? "at its end" : "at \"", end ? "" : p->at, end ? "" : "\"");
    return false;
}

static void skip_space(parser *p)
{
    while (g_ascii_isspace(*p->at))
        p->at++;
}

/* A whole word, not the beginning of one. */
static bool take_word(parser *p, const char *word)
{
    size_t n = strlen(word);
    skip_space(p);
    if (g_ascii_strncasecmp(p->at, word, n) != 0 || g_ascii_isalnum(p->at[n]) || p->at[n] == '_')
        return false;
    p->at += n;
    return true;
}

static bool take_sign(parser *p, const char *sign)
{
    size_t n = strlen(sign);
    skip_space(p);
    if (strncmp(p->at, sign, n) != 0)
        return false;
    p->at += n;
    return true;
}

static void emit(parser *p, opcode op)
{
    step s = {.op = op};
    g_array_append_val(p->steps, s);
}

static bool read_comparison(parser *p, GError **error)
{
    step s = {0};
    size_t i = 0;
    while (i < G_N_ELEMENTS(numbers) && !take_word(p, numbers[i].name))
        i++;
    if (i == G_N_ELEMENTS(numbers))
        return fail(p, "the name of a number is", error);
    s.member = numbers[i].member;
    for (i = 0; i < G_N_ELEMENTS(operators) && !take_sign(p, operators[i].text);)
        i++;
    if (i == G_N_ELEMENTS(operators))
        return fail(p, ">=, >, <=, <, = or != is", error);
    s.op = operators[i].op;
    skip_space(p);
    char *end;
    s.value = g_ascii_strtod(p->at, &end);
    if (end == p->at || s.value != s.value)
        return fail(p, "a number is", error);
    p->at = end;
    g_array_append_val(p->steps, s);
    return true;
}

static bool read_condition(parser *p, GError **error);

static bool read_term(parser *p, GError **error)
{
    if (p->depth >= DEPTH_MAX)
        return fail(p, "less nesting is", error);
    p->depth++;
    bool ok;
    if (take_word(p, "not")) {
        ok = read_term(p, error);
        emit(p, OP_NOT);
    } else if (take_sign(p, "(")) {
        ok = read_condition(p, error) && (take_sign(p, ")") || fail(p, "\")\" is", error));
    } else {
        ok = read_comparison(p, error);
    }
    p->depth--;
    return ok;
}

static bool read_part(parser *p, GError **error)
{
    if (!read_term(p, error))
        return false;
    while (take_word(p, "and") || take_sign(p, ",")) {
        if (!read_term(p, error))
            return false;
        emit(p, OP_AND);
    }
    return true;
}

static bool read_condition(parser *p, GError **error)
{
    if (!read_part(p, error))
        return false;
    while (take_word(p, "or")) {
        if (!read_part(p, error))
            return false;
        emit(p, OP_OR);
    }
    return true;
}

db_where *db_where_create(const char *text, GError **error)
{
    parser p = {text, text, g_array_new(FALSE, FALSE, sizeof(step)), 0};
    bool ok = read_condition(&p, error);
    skip_space(&p);
    if (ok && *p.at)
        ok = fail(&p, "\"and\" or \"or\" is", error);
    if (!ok) {
        g_array_unref(p.steps);
        return NULL;
    }
    db_where *where = g_new0(db_where, 1);
    where->steps = p.steps;
    return where;
}

void db_where_destroy(db_where *where)
{
    if (!where)
        return;
    g_array_unref(where->steps);
    g_free(where);
}

/* ---- asking ---------------------------------------------------------------------------------- */
static bool compare(const step *s, const db_patch *patch)
{
    float number;
    memcpy(&number, (const char *)patch + s->member, sizeof number);
    double x = (double)number, v = s->value;
    switch (s->op) {
    case OP_GE:
        return x >= v;
    case OP_GT:
        return x > v;
    case OP_LE:
        return x <= v;
    case OP_LT:
        return x < v;
    case OP_EQ:
        return number == (float)v; /* what is stored is a float */
    case OP_NE:
        return x == x && number != (float)v;
    case OP_AND:
    case OP_OR:
    case OP_NOT:
    default:
        return false;
    }
}

bool db_where_holds(const db_where *where, const db_patch *patch)
{
    bool stack[2 * DEPTH_MAX + 4]; /* a level leaves two values at most: of "or" and of "and" */
    size_t n = 0;
    for (guint i = 0; where && i < where->steps->len; i++) {
        const step *s = &g_array_index(where->steps, step, i);
        if (s->op == OP_NOT) {
            stack[n - 1] = !stack[n - 1];
        } else if (s->op == OP_AND || s->op == OP_OR) {
            n--;
            stack[n - 1] = s->op == OP_AND ? stack[n - 1] && stack[n] : stack[n - 1] || stack[n];
        } else {
            stack[n++] = compare(s, patch);
        }
    }
    return n == 0 || stack[0];
}
