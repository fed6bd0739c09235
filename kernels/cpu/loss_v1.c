/* The loss's passes for x86-64 as it was born (SSE2), and any other architecture. */
#define LP_TABLE kn_cpu_loss_ops_v1
#define LP_NAME "plain"
#include "kernels/cpu/loss_isa.h"
#include "kernels/cpu/loss_pass.inc"
