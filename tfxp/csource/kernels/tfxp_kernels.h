/* Kernels of a network in power-of-two formats: plain C99, integers only, no heap.
 *
 * A tensor holds codes: real = 2^-f * (code - zero). A product of codes is exact in 32 bits, so a
 * layer is a sum of products, a shift with rounding, an offset and two limits. Nothing else of a
 * number format is left at run time.
 *
 * Images are stored row by row, pixel by pixel, channels innermost.
 */
#ifndef TFXP_KERNELS_H
#define TFXP_KERNELS_H

#include <stdint.h>

/* With 1, products with an activation of zero are not computed. The results are the same. */
#ifndef TFXP_SKIP_ZEROS
#define TFXP_SKIP_ZEROS 1
#endif

/* Right shifts of negative numbers must keep the sign; every compiler for our targets does. */
typedef char tfxp_shift_keeps_the_sign[(-1 >> 1) == -1 ? 1 : -1];

typedef struct {
  int32_t height, width, channels;
} tfxp_image;

/* One spatial direction: output position p, tap t reads input p * stride - pad + t * dilation. */
typedef struct {
  int32_t taps, stride, dilation, pad;
} tfxp_axis;

/* k-bit two's complement codes, packed from the lowest bit of the first byte on; each stands for
 * code * factor. One byte follows the last code, because two are read at a time. */
typedef struct {
  const uint8_t *codes;
  int32_t bits, factor;
} tfxp_packed;

/* From a sum to a code: clamp(round(sum * 2^-shift) + zero, low, high). */
typedef struct {
  const int8_t *shifts; /* one for every channel, or a single one */
  int32_t count;        /* how many */
  int32_t zero, low, high;
} tfxp_requantizer;

typedef struct {
  tfxp_image input, output;
  tfxp_axis rows, columns;
  tfxp_packed weights; /* by row tap, column tap, input channel, output channel */
  const int32_t *bias; /* one for every output channel */
  int32_t input_zero;
  int32_t groups; /* 1 for a plain convolution, input channels for a depthwise one */
  tfxp_requantizer requantizer;
} tfxp_convolution;

typedef struct {
  tfxp_image input, output;
  tfxp_axis rows, columns;
  int32_t low, high;
} tfxp_pool;

/* clamp(round_half_up(left * (a - zero_a) + right * (b - zero_b), shift) + zero, low, high) */
typedef struct {
  int32_t left, right, zero_a, zero_b; /* left and right are powers of two, right may be negative */
  int32_t shift, zero, low, high;
} tfxp_sum;

/* clamp(round_half_even((a - zero_a) * (b - zero_b), shift) + zero, low, high) */
typedef struct {
  int32_t zero_a, zero_b, shift, zero, low, high;
} tfxp_product;

/* round(value * 2^-shift), ties to even; a negative shift multiplies. */
int32_t tfxp_round_half_even(int32_t value, int32_t shift);
/* floor(value * 2^-shift + 1/2). */
int32_t tfxp_round_half_up(int32_t value, int32_t shift);
/* The float32 number nearest to an integer, as an integer: sums of 2^24 and more lose bits in it. */
int32_t tfxp_round_to_float32(int32_t value);
/* Expand `count` packed codes from number `first` on. */
void tfxp_unpack(tfxp_packed packed, uint32_t first, int32_t count, int8_t *codes);

/* sums: one row of the output, width * channels; weights: one for every output channel. */
void tfxp_convolve(const tfxp_convolution *layer, const int8_t *input, int8_t *output,
                   int32_t *sums, int8_t *weights);
void tfxp_average_pool(const tfxp_pool *pool, const int8_t *input, int8_t *output);
void tfxp_max_pool(const tfxp_pool *pool, const int8_t *input, int8_t *output);
/* Mean over `count` positions of each channel: code lowest + the number of steps that the sum of
 * stored codes has reached. The steps rise. */
void tfxp_mean(const int32_t *steps, int32_t step_count, int32_t lowest, int32_t count,
               int32_t channels, const int8_t *input, int8_t *output);
/* The operand b is read again from its start every `period` elements. */
void tfxp_add(const tfxp_sum *sum, int32_t size, int32_t period, const int8_t *a, const int8_t *b,
              int8_t *output);
void tfxp_multiply(const tfxp_product *product, int32_t size, int32_t period, const int8_t *a,
                   const int8_t *b, int8_t *output);
void tfxp_maximum(int32_t size, int32_t period, const int8_t *a, const int8_t *b, int8_t *output);
void tfxp_minimum(int32_t size, int32_t period, const int8_t *a, const int8_t *b, int8_t *output);
/* A function of one code: its value for -128 comes first. */
void tfxp_look_up(const int8_t table[256], int32_t size, const int8_t *input, int8_t *output);
void tfxp_copy(int32_t size, const int8_t *input, int8_t *output);
/* Runs of `run` codes into every `pitch`-th place: one operand of a concatenation. */
void tfxp_scatter_runs(int32_t runs, int32_t run, int32_t pitch, const int8_t *input,
                       int8_t *output);
/* An image inside a larger one that is filled with `fill`. */
void tfxp_pad_image(tfxp_image input, tfxp_image output, int32_t top, int32_t left, int8_t fill,
                    const int8_t *input_codes, int8_t *output_codes);

#endif
