/* The CUDA backend's door. A program that was built with it calls kn_cuda_register once, before
 * engines are made; `--device cuda` then works. Its tests link the emulation in place of the CUDA
 * runtime and call the same function. */
#ifndef QS_KERNELS_CUDA_CUDA_H
#define QS_KERNELS_CUDA_CUDA_H

void kn_cuda_register(void);

#endif
