/* Planning a pass. Every tensor is listed with its lifetime:
 *
 *   what backward reads again   private: sources of convolutions, BatchNorm and pooling
 *   the rest of forward         shared scratch, from its first to its last use
 *   gradients                   shared scratch, likewise
 *
 * A BatchNorm works in place where it may: backward always when the gradient is dense, forward when
 * nothing is kept. Where one convolution alone reads its result and can make it for itself, forward
 * and backward, the result is never written. Inference folds it away altogether; the skip
 * connection is then copied into its slice by the pooling pass, since a convolution writes whole
 * buffers only. */
#include "kernels/net/pass_priv.h"

#include "base/error.h"

static int n_nodes(const kn_pass *pass)
{
    return (int)pass->net->nodes->len;
}

static int bwd_step(const kn_pass *pass, int node)
{
    return 2 * n_nodes(pass) - 1 - node;
}

/* Input and outputs are of the engine's dtype, what lies between of its activations'. */
static kn_dtype value_dtype(const kn_pass *pass, int value)
{
    bool edge = value == pass->net->input;
    for (int o = 0; o < pass->net->n_outputs; o++)
        edge |= value == pass->net->outputs[o];
    return edge ? kn_engine_dtype(pass->engine) : pass->act;
}

/* Only a convolution can change the type on its way: where another node makes a wanted output,
 * features for a loss say, all of the pass is of the engine's dtype. */
static kn_dtype choose_act(const kn_pass *pass)
{
    for (int o = 0; o < pass->net->n_outputs; o++)
        for (int i = 0; i < n_nodes(pass) && kn_pass_wants(pass, o); i++)
            if (kn_net_node(pass->net, i)->dst.value == pass->net->outputs[o] &&
                kn_net_node(pass->net, i)->kind != KN_NODE_CONV)
                return kn_engine_dtype(pass->engine);
    return pass->engine->act;
}

static size_t value_bytes(const kn_pass *pass, int value)
{
    const kn_value *v = kn_net_value(pass->net, value);
    size_t pixels = (size_t)pass->options.n * (size_t)(pass->options.h >> v->level) *
                    (size_t)(pass->options.w >> v->level);
    return pixels * (size_t)v->channels * kn_dtype_bytes(value_dtype(pass, value));
}

static bool folds(const kn_pass *pass)
{
    return pass->options.mode == KN_PASS_INFER;
}

/* Blocks of 16 where the backend likes them; the edges are always NHWC, and so is the other side of
 * their convolutions. */
static int value_block(const kn_pass *pass, int value)
{
    return pass->blocks[value];
}

static void choose_blocks(kn_pass *pass)
{
    /* A convolution's two sides have one layout, so all widths must divide. Folded, the first
     * convolution writes what the second reads, which then would meet both layouts; they are the
     * same for 16 channels only. */
    int width = pass->net->spec.width;
    int block = width % 16 || (folds(pass) && width != 16) ? 0 : pass->engine->block;
    for (guint v = 0; v < pass->net->values->len; v++)
        pass->blocks[v] = kn_net_value(pass->net, (int)v)->nhwc ? 0 : block;
    for (int i = 0; i < n_nodes(pass); i++) {
        const kn_step *s = &pass->steps[i];
        if (kn_net_node(pass->net, i)->kind != KN_NODE_CONV)
            continue;
        if (kn_net_value(pass->net, s->src.value)->nhwc)
            pass->blocks[s->dst.value] = 0;
        if (kn_net_value(pass->net, s->dst.value)->nhwc)
            pass->blocks[s->src.value] = 0;
    }
}

/* May a BatchNorm write its result over its source? */
static bool in_place(const kn_pass *pass, const kn_step *s)
{
    return kn_slice_whole(pass->net, s->dst) &&
           pass->blocks[s->src.value] == pass->blocks[s->dst.value];
}

void *kn_pass_at(const kn_pass *pass, int item)
{
    if (item < 0)
        return NULL;
    const kn_plan_item *it = kn_plan_at(&pass->plan, item);
    return (char *)(it->shared ? pass->engine->scratch.data : pass->arena.data) + it->offset;
}

kn_tensor kn_pass_tensor(const kn_pass *pass, const int *items, kn_slice slice)
{
    const kn_value *v = kn_net_value(pass->net, slice.value);
    kn_tensor t = {.dtype = value_dtype(pass, slice.value),
                   .n = pass->options.n,
                   .h = pass->options.h >> v->level,
                   .w = pass->options.w >> v->level,
                   .c = slice.channels,
                   .ldc = v->channels,
                   .block = value_block(pass, slice.value)};
    size_t first = (size_t)slice.first * (t.block ? (size_t)t.h * (size_t)t.w : 1);
    t.data = (char *)kn_pass_at(pass, items[slice.value]) + first * kn_dtype_bytes(t.dtype);
    return t;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* Where a convolution writes in inference: the destination of the BatchNorm that is folded into it
 * when that is whole, else its own value (which the pooling pass copies to the slice). */
static void redirect(kn_pass *pass, const bool *wanted)
{
    int n = n_nodes(pass);
    g_autofree int *dense = g_new(int, pass->net->values->len); /* slice's value -> dense value */
    for (guint i = 0; i < pass->net->values->len; i++)
        dense[i] = -1;
    for (int i = 0; i < n; i++) {
        kn_step *s = &pass->steps[i];
        const kn_node *node = kn_net_node(pass->net, i);
        *s = (kn_step){.src = node->src,
                       .dst = node->dst,
                       .copy = {-1, 0, 0},
                       .fold_norm = -1,
                       .packed = -1,
                       .stats = -1,
                       .mask = -1,
                       .sums = -1,
                       .sums_of = -1,
                       .before = -1,
                       .scratch_fwd = -1,
                       .scratch_bwd_data = -1,
                       .scratch_bwd_weights = -1,
                       .rearranged = -1,
                       .skip = !wanted[i]};
        s->dsrc = pass->options.mode == KN_PASS_TRAIN && node->src.value != pass->net->input;
        if (!folds(pass) || s->skip)
            continue;
        if (node->kind == KN_NODE_CONV && node->normed) {
            const kn_node *norm = kn_net_node(pass->net, i + 1);
            s->fold_norm = i + 1;
            if (kn_slice_whole(pass->net, norm->dst))
                s->dst = norm->dst;
            else
                dense[norm->dst.value] = node->dst.value;
        } else if (node->kind == KN_NODE_NORM) {
            s->skip = true;
        } else if (node->kind == KN_NODE_POOL && dense[node->src.value] >= 0) {
            s->copy = node->src;
            s->src = (kn_slice){dense[node->src.value], 0, node->src.channels};
        }
    }
}

static bool create_convs(kn_pass *pass, GError **error)
{
    const kn_ops *ops = kn_engine_ops(pass->engine);
    const kn_pass_options *o = &pass->options;
    for (int i = 0; i < n_nodes(pass); i++) {
        const kn_node *node = kn_net_node(pass->net, i);
        kn_step *s = &pass->steps[i];
        if (node->kind != KN_NODE_CONV || s->skip)
            continue;
        int level = kn_net_value(pass->net, s->src.value)->level;
        kn_conv_spec spec = {.name = node->name,
                             .n = o->n,
                             .h = o->h >> level,
                             .w = o->w >> level,
                             .ic = s->src.channels,
                             .oc = s->dst.channels,
                             .k = node->k,
                             .bias = !node->no_bias &&
                                     (folds(pass) || !node->normed || !ops->folds_bias),
                             .train = o->mode == KN_PASS_TRAIN,
                             .bwd_data = s->dsrc,
                             .leaky = s->fold_norm >= 0,
                             .src_block = value_block(pass, s->src.value),
                             .dst_block = value_block(pass, s->dst.value),
                             .src_type = value_dtype(pass, s->src.value),
                             .dst_type = value_dtype(pass, s->dst.value)};
        s->conv = ops->conv_create(pass->engine, &spec, error);
        if (!s->conv)
            return false;
    }
    return true;
}

/* The one node run that reads `value`; -1 when there are more, or none. */
static int only_reader(const kn_pass *pass, int value)
{
    int reader = -1, n_readers = 0;
    for (int i = 0; i < n_nodes(pass); i++)
        if (!pass->steps[i].skip && kn_net_node(pass->net, i)->src.value == value) {
            reader = i;
            n_readers++;
        }
    return n_readers == 1 ? reader : -1;
}

/* A BatchNorm without dropout whose result is pooled at once: both go in one sweep each way. The
 * pooling is the last to add to the gradient, since it is the next node. */
static void plan_pooling(kn_pass *pass, int i)
{
    kn_step *s = &pass->steps[i], *pool = s + 1;
    if (!kn_engine_ops(pass->engine)->pool_bwd_sums || i + 1 >= n_nodes(pass) || pool->skip ||
        kn_net_node(pass->net, i + 1)->kind != KN_NODE_POOL || pool->src.value != s->dst.value ||
        pool->src.first != s->dst.first || pool->src.channels != s->dst.channels ||
        (kn_net_node(pass->net, i)->dropout > 0 && !pass->options.no_dropout))
        return;
    s->pool_with_norm = pool->pool_with_norm = true;
    if (pass->options.mode != KN_PASS_TRAIN)
        return;
    s->sums_with_next = true;
    pool->sums_of = i;
}

/* Which parts of a BatchNorm go along with what is before and after it. */
static void plan_fusion(kn_pass *pass)
{
    const kn_ops *ops = kn_engine_ops(pass->engine);
    bool train = pass->options.mode == KN_PASS_TRAIN;
    for (int i = 1; i < n_nodes(pass) && ops->conv_takes && !folds(pass); i++) {
        kn_step *s = &pass->steps[i];
        if (kn_net_node(pass->net, i)->kind != KN_NODE_NORM || s->skip)
            continue;
        unsigned before = ops->conv_takes(pass->steps[i - 1].conv);
        s->stats_with_conv = before & KN_TAKES_STATS;
        s->apply_with_conv = train && (before & KN_TAKES_APPLY);
        plan_pooling(pass, i);
        int reader = only_reader(pass, s->dst.value);
        if (!train || reader < 0 || !kn_slice_whole(pass->net, s->dst) ||
            !pass->steps[reader].conv || !pass->steps[reader].dsrc)
            continue;
        s->sums_with_next = ops->conv_takes(pass->steps[reader].conv) & KN_TAKES_SUMS;
        if (s->sums_with_next)
            pass->steps[reader].sums_of = i;
    }
}

kn_slice kn_pass_source(const kn_pass *pass, int node)
{
    const kn_step *s = &pass->steps[node];
    return s->before >= 0 ? pass->steps[s->before].src : s->src;
}

/* Can the one reader of a BatchNorm's result make it for itself? */
static bool reader_can_make(const kn_pass *pass, int norm, int reader)
{
    const kn_step *s = &pass->steps[norm];
    int src = s->src.value, dst = s->dst.value;
    for (int o = 0; o < pass->net->n_outputs; o++)
        if (kn_pass_wants(pass, o) && pass->net->outputs[o] == dst)
            return false;
    /* One block of channels lies alike in both layouts. */
    bool alike = pass->blocks[src] == pass->blocks[dst] || s->src.channels == pass->engine->block;
    return alike && kn_slice_whole(pass->net, s->src) && kn_slice_whole(pass->net, s->dst) &&
           pass->steps[reader].conv && kn_net_node(pass->net, reader)->normed &&
           (kn_engine_ops(pass->engine)->conv_takes(pass->steps[reader].conv) & KN_TAKES_BEFORE);
}

/* Which results of BatchNorms are never written. */
static void plan_made(kn_pass *pass)
{
    for (int i = 1; i < n_nodes(pass) && kn_engine_ops(pass->engine)->conv_takes && !folds(pass);
         i++) {
        kn_step *s = &pass->steps[i];
        if (kn_net_node(pass->net, i)->kind != KN_NODE_NORM || s->skip)
            continue;
        int reader = only_reader(pass, s->dst.value);
        s->made_by_reader = reader >= 0 && reader_can_make(pass, i, reader);
        if (s->made_by_reader)
            pass->steps[reader].before = i;
    }
}

/* ---- lifetimes ---------------------------------------------------------------------------------
 */

static void use_value(kn_pass *pass, int value, int step, bool by_backward)
{
    int *item = &pass->value_item[value];
    if (*item < 0) {
        const char *name = kn_net_value(pass->net, value)->name;
        *item = kn_plan_add(&pass->plan, name, value_bytes(pass, value), step, step, true);
    }
    kn_plan_touch(&pass->plan, *item, step);
    if (by_backward)
        kn_plan_at(&pass->plan, *item)->shared = false;
}

/* The dropout mask from forward to backward, where the backend keeps one. */
static void plan_mask(kn_pass *pass, int i)
{
    const kn_ops *ops = kn_engine_ops(pass->engine);
    const kn_node *node = kn_net_node(pass->net, i);
    if (pass->options.mode != KN_PASS_TRAIN || pass->options.no_dropout || node->dropout <= 0 ||
        !ops->norm_mask_bytes)
        return;
    kn_tensor t = kn_pass_tensor(pass, pass->value_item, node->src);
    size_t bytes = ops->norm_mask_bytes(kn_pixels(&t), node->src.channels);
    if (bytes > 0)
        pass->steps[i].mask =
            kn_plan_add(&pass->plan, "dropout mask", bytes, i, bwd_step(pass, i - 1), false);
}

static bool backward_reads_source(const kn_node *node)
{
    return node->kind == KN_NODE_CONV || node->kind == KN_NODE_NORM || node->kind == KN_NODE_POOL ||
           (node->kind == KN_NODE_PERTURB && node->perturb.kind == KN_PERTURB_DROP);
}

static void plan_forward(kn_pass *pass)
{
    bool train = pass->options.mode == KN_PASS_TRAIN;
    int end = 2 * n_nodes(pass);
    use_value(pass, pass->net->input, -1, true);
    use_value(pass, pass->net->input, end, true); /* the caller may run the same images again */
    for (int i = 0; i < n_nodes(pass); i++) {
        const kn_node *node = kn_net_node(pass->net, i);
        kn_step *s = &pass->steps[i];
        if (s->skip)
            continue;
        int src = kn_pass_source(pass, i).value;
        use_value(pass, src, i, false);
        /* In place: nothing reads the convolution's output again, and the result is as large. */
        if (!train && node->kind == KN_NODE_NORM && in_place(pass, s) && !s->made_by_reader)
            pass->value_item[s->dst.value] = pass->value_item[src];
        if (!s->made_by_reader)
            use_value(pass, s->dst.value, i, false);
        if (s->copy.value >= 0)
            use_value(pass, s->copy.value, i, false);
        if (node->kind == KN_NODE_NORM && s->pool_with_norm)
            use_value(pass, s[1].dst.value, i, false);
        if (train && backward_reads_source(node))
            use_value(pass, src, bwd_step(pass, s->apply_with_conv ? i - 1 : i), true);
        if (node->kind == KN_NODE_CONV) {
            kn_conv_needs needs = kn_engine_ops(pass->engine)->conv_needs(s->conv);
            s->packed =
                kn_plan_add(&pass->plan, "packed weights", needs.packed_bytes, -1, end, false);
            s->scratch_fwd =
                kn_plan_add(&pass->plan, "convolution scratch", needs.fwd_bytes, i, i, true);
        } else if (node->kind == KN_NODE_NORM) {
            size_t bytes =
                2 * (size_t)s->src.channels * kn_dtype_bytes(kn_engine_dtype(pass->engine));
            s->stats = kn_plan_add(&pass->plan, "batch statistics", bytes, -1, end, false);
            plan_mask(pass, i);
            if (train)
                s->sums = kn_plan_add(&pass->plan, "backward sums",
                                      2 * (size_t)s->src.channels * sizeof(double), -1, end, false);
        }
    }
    for (int o = 0; o < pass->net->n_outputs; o++)
        if (kn_pass_wants(pass, o))
            use_value(pass, pass->net->outputs[o], end, true);
}

static void use_grad(kn_pass *pass, int value, int step)
{
    int *item = &pass->grad_item[value];
    if (*item < 0)
        *item = kn_plan_add(&pass->plan, "gradient", value_bytes(pass, value), step, step, true);
    kn_plan_touch(&pass->plan, *item, step);
}

/* Bytes of a convolution's weights and bias, as 1×1 where it is a transposed one. */
static size_t weight_bytes(const kn_pass *pass, const kn_node *node)
{
    int64_t n = kn_net_param(pass->net, node->param)->n;
    if (!node->no_bias)
        n += kn_net_param(pass->net, node->param + 1)->n * (node->transposed ? 4 : 1);
    return (size_t)n * kn_dtype_bytes(kn_engine_dtype(pass->engine));
}

/* The gradient between a convolution and its BatchNorm, which the convolution makes for itself
 * where nothing else wants it: it is nowhere in memory. */
static bool grad_unwritten(const kn_pass *pass, int norm)
{
    return pass->steps[norm].apply_with_conv && !pass->steps[norm - 1].dsrc;
}

static void plan_backward(kn_pass *pass)
{
    for (int o = 0; o < pass->net->n_outputs; o++) {
        if (!kn_pass_wants(pass, o))
            continue;
        int value = pass->net->outputs[o];
        use_grad(pass, value, n_nodes(pass));
        kn_plan_at(&pass->plan, pass->grad_item[value])->shared = false; /* the caller's */
        kn_plan_touch(&pass->plan, pass->grad_item[value], -1);
    }
    for (int i = n_nodes(pass) - 1; i >= 0; i--) {
        const kn_node *node = kn_net_node(pass->net, i);
        kn_step *s = &pass->steps[i];
        int step = bwd_step(pass, i);
        if (s->skip)
            continue;
        if (!(node->kind == KN_NODE_CONV && node->normed && grad_unwritten(pass, i + 1)))
            use_grad(pass, s->dst.value, step);
        if (s->apply_with_conv)
            use_grad(pass, s->dst.value, bwd_step(pass, i - 1));
        if (node->kind == KN_NODE_NORM && in_place(pass, s))
            pass->grad_item[s->src.value] = pass->grad_item[s->dst.value];
        if (s->dsrc && !(node->kind == KN_NODE_NORM && grad_unwritten(pass, i)))
            use_grad(pass, s->src.value, step);
        if (node->kind == KN_NODE_CONV) {
            kn_conv_needs needs = kn_engine_ops(pass->engine)->conv_needs(s->conv);
            s->scratch_bwd_data = kn_plan_add(&pass->plan, "convolution scratch",
                                              needs.bwd_data_bytes, step, step, true);
            s->scratch_bwd_weights = kn_plan_add(&pass->plan, "convolution scratch",
                                                 needs.bwd_weights_bytes, step, step, true);
            if (node->transposed)
                s->rearranged = kn_plan_add(&pass->plan, "rearranged gradients",
                                            weight_bytes(pass, node), step, step, true);
        }
    }
}

static void plan_folding(kn_pass *pass)
{
    size_t most = 0;
    for (int i = 0; i < n_nodes(pass); i++) {
        const kn_node *node = kn_net_node(pass->net, i);
        if (node->kind == KN_NODE_CONV && (pass->steps[i].fold_norm >= 0 || node->transposed))
            most = MAX(most, weight_bytes(pass, node));
    }
    pass->folded = kn_plan_add(&pass->plan, "folded weights", most, -1, -1, true);
}

/* ---- creation ----------------------------------------------------------------------------------
 */

static bool check_options(const kn_net *net, const kn_pass_options *o, GError **error)
{
    int levels = 0;
    for (guint i = 0; i < net->values->len; i++)
        levels = MAX(levels, kn_net_value(net, (int)i)->level);
    int multiple = 1 << levels;
    bool small =
        o->n >= 1 && o->h >= 1 && o->w >= 1 && o->n <= 65536 && o->h <= 65536 && o->w <= 65536;
    if (!small || o->h % multiple || o->w % multiple || (int64_t)o->n * o->h * o->w > INT32_MAX) {
        g_set_error(
            error, QS_ERROR, QS_ERROR_ARG,
            "a pass of %d images of %d x %d: height and width must be multiples of %d, and fewer "
            "than 2^31 pixels in all",
            o->n, o->w, o->h, multiple);
        return false;
    }
    return true;
}

/* Training starts a gradient where its value is read last: the outputs must be enough for that. */
static bool check_gradients(const kn_net *net, const kn_pass_options *o, const bool *wanted,
                            GError **error)
{
    const char *loose = o->mode == KN_PASS_TRAIN ? kn_net_loose_gradient(net, wanted) : NULL;
    if (!loose)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                "a training pass of outputs %#x alone: the gradient of %s would start nowhere; "
                "take output 0 with them",
                o->outputs, loose);
    return false;
}

/* The plan without its memory. */
static kn_pass *plan_pass(kn_engine *engine, const kn_net *net, const kn_pass_options *options,
                          GError **error)
{
    kn_pass_options filled = *options;
    filled.outputs = options->outputs ? options->outputs : 1;
    g_autofree bool *wanted = g_new0(bool, net->nodes->len);
    kn_net_needed(net, filled.outputs, wanted);
    if (!check_options(net, &filled, error) || !check_gradients(net, &filled, wanted, error))
        return NULL;
    kn_engine_team(engine);
    kn_pass *pass = g_new0(kn_pass, 1);
    pass->engine = engine;
    pass->net = net;
    pass->options = filled;
    kn_plan_init(&pass->plan);
    pass->steps = g_new0(kn_step, net->nodes->len);
    pass->value_item = g_new(int, net->values->len);
    pass->grad_item = g_new(int, net->values->len);
    pass->blocks = g_new0(int, net->values->len);
    for (guint i = 0; i < net->values->len; i++)
        pass->value_item[i] = pass->grad_item[i] = -1;
    pass->act = choose_act(pass);
    redirect(pass, wanted);
    choose_blocks(pass);
    if (!create_convs(pass, error)) {
        kn_pass_destroy(pass);
        return NULL;
    }
    plan_fusion(pass);
    plan_made(pass);
    plan_forward(pass);
    if (options->mode == KN_PASS_TRAIN)
        plan_backward(pass);
    plan_folding(pass);
    kn_plan_layout(&pass->plan);
    return pass;
}

bool kn_pass_memory_parts(kn_engine *engine, const kn_net *net, const kn_pass_options *options,
                          int64_t *own, int64_t *grown, GError **error)
{
    kn_pass *pass = plan_pass(engine, net, options, error);
    if (!pass)
        return false;
    *own = (int64_t)pass->plan.private_bytes;
    *grown = (int64_t)(MAX(pass->plan.shared_bytes, engine->scratch.bytes) - engine->scratch.bytes);
    kn_pass_destroy(pass);
    return true;
}

int64_t kn_pass_memory(kn_engine *engine, const kn_net *net, const kn_pass_options *options,
                       GError **error)
{
    int64_t own, grown;
    return kn_pass_memory_parts(engine, net, options, &own, &grown, error) ? own + grown : -1;
}

static size_t tensor_bytes(const kn_tensor *t)
{
    return (size_t)kn_pixels(t) * (size_t)t->ldc * kn_dtype_bytes(t->dtype);
}

/* Do the logits come to the host by themselves? */
static bool brings_logits(const kn_pass *pass)
{
    return folds(pass) && !pass->options.keep_logits;
}

/* The host's side of what the caller writes and reads. */
static bool stage(kn_pass *pass, GError **error)
{
    bool input = !pass->options.input_there;
    size_t in = input ? kn_round_up(tensor_bytes(&pass->input), KN_ALIGN) : 0;
    size_t out = brings_logits(pass) ? tensor_bytes(&pass->outputs[0]) : 0;
    if (!kn_engine_host_alloc(pass->engine, &pass->staging, in + out, "the images of a pass",
                              error))
        return false;
    if (input)
        pass->input.data = pass->staging.data;
    if (brings_logits(pass))
        pass->outputs[0].data = (char *)pass->staging.data + in;
    return true;
}

void kn_pass_upload(kn_pass *pass)
{
    if (pass->staging.data && !pass->options.input_there)
        kn_engine_upload(pass->engine, kn_pass_at(pass, pass->value_item[pass->net->input]),
                         pass->input.data, tensor_bytes(&pass->input));
}

bool kn_pass_download(kn_pass *pass, GError **error)
{
    if (!pass->staging.data || !brings_logits(pass))
        return true;
    kn_engine_download(pass->engine, pass->outputs[0].data,
                       kn_pass_at(pass, pass->value_item[pass->net->outputs[0]]),
                       tensor_bytes(&pass->outputs[0]));
    return kn_engine_check(pass->engine, error);
}

kn_pass *kn_pass_create(kn_engine *engine, const kn_net *net, const kn_pass_options *options,
                        GError **error)
{
    kn_pass *pass = plan_pass(engine, net, options, error);
    if (!pass)
        return NULL;
    g_autofree char *what =
        g_strdup_printf("a pass of %d images of %d x %d", options->n, options->w, options->h);
    if (!kn_engine_alloc(engine, &pass->arena, pass->plan.private_bytes, what, error) ||
        !kn_engine_reserve_scratch(engine, pass->plan.shared_bytes, error)) {
        kn_pass_destroy(pass);
        return NULL;
    }
    pass->input = kn_pass_tensor(pass, pass->value_item, kn_net_whole(net, net->input));
    for (int o = 0; o < net->n_outputs; o++) {
        if (!kn_pass_wants(pass, o))
            continue;
        kn_slice out = kn_net_whole(net, net->outputs[o]);
        pass->outputs[o] = kn_pass_tensor(pass, pass->value_item, out);
        if (options->mode == KN_PASS_TRAIN)
            pass->doutputs[o] = kn_pass_tensor(pass, pass->grad_item, out);
    }
    bool staged = kn_engine_is_device(engine) && (brings_logits(pass) || !options->input_there);
    if (staged && !stage(pass, error)) {
        kn_pass_destroy(pass);
        return NULL;
    }
    return pass;
}

void kn_pass_destroy(kn_pass *pass)
{
    if (!pass)
        return;
    for (int i = 0; i < n_nodes(pass); i++)
        if (pass->steps[i].conv)
            kn_engine_ops(pass->engine)->conv_destroy(pass->steps[i].conv);
    kn_engine_free(pass->engine, &pass->arena);
    kn_engine_host_free(pass->engine, &pass->staging);
    kn_plan_clear(&pass->plan);
    g_free(pass->steps);
    g_free(pass->value_item);
    g_free(pass->grad_item);
    g_free(pass->blocks);
    g_free(pass);
}

kn_dtype kn_pass_activations(const kn_pass *pass)
{
    return pass->act;
}

const kn_tensor *kn_pass_input(const kn_pass *pass)
{
    return &pass->input;
}

const kn_tensor *kn_pass_logits(const kn_pass *pass)
{
    return kn_pass_output(pass, 0);
}

const kn_tensor *kn_pass_dlogits(const kn_pass *pass)
{
    return kn_pass_doutput(pass, 0);
}

const kn_tensor *kn_pass_output(const kn_pass *pass, int output)
{
    return kn_pass_wants(pass, output) ? &pass->outputs[output] : NULL;
}

const kn_tensor *kn_pass_doutput(const kn_pass *pass, int output)
{
    bool train = pass->options.mode == KN_PASS_TRAIN;
    return train && kn_pass_wants(pass, output) ? &pass->doutputs[output] : NULL;
}
