/* Kernels of an integer network: plain C99, integers only, no heap.
 *
 * A tensor holds codes: real = scale * (code - zero). A product of codes is exact in 32 bits, so a
 * layer is a sum of products, a shift with rounding, an offset and two limits. With scales that are
 * powers of two nothing else of a number format is left at run time; with others a sum meets a
 * multiplier before the shift.
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
 * code * factor. With 0 bits all are equal, and stand for the factor. One byte follows the last
 * code, because two are read at a time. */
typedef struct {
  const uint8_t *codes;
  int32_t bits, factor;
} tfxp_packed;

/* How a sum becomes a whole number of output steps; see requantize.c. */
enum {
  TFXP_HALF_UP,   /* floor(sum * 2^-shift + 1/2) */
  TFXP_HALF_EVEN, /* sum * 2^-shift, ties to even */
  TFXP_FLOAT32,   /* float32(sum) * multiplier * 2^-shift, in float32; then ties to even */
  TFXP_TWICE      /* sum * multiplier * 2^-31, halves up; then * 2^-shift, halves up or away */
};

/* From a sum to a code: clamp(rounded(sum) + zero, low, high). */
typedef struct {
  int32_t rounding;
  const int8_t *shifts;       /* one for every channel, or a single one */
  const int32_t *multipliers; /* likewise, for the roundings that have some */
  int32_t count;              /* how many */
  int32_t ups;                /* with TFXP_TWICE: channels whose second rounding is half up */
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

/* Steps from one matrix of a batch, row or column to the next. */
typedef struct {
  int32_t matrix, row, column;
} tfxp_strides;

typedef struct {
  int32_t batch, rows, depth, units;
  tfxp_strides left, right;
  int32_t left_zero, right_zero;
  tfxp_requantizer requantizer;
} tfxp_matrices;

typedef struct {
  tfxp_image input, output;
  tfxp_axis rows, columns;
  int32_t low, high;
} tfxp_pool;

/* clamp(((left * a + right * b + bias) >> shift) + zero, low, high); the bias holds the zero points
 * and half a step. */
typedef struct {
  int32_t left, right, bias, shift, zero, low, high;
} tfxp_sum;

/* A requantizer applied to (a - zero_a) * (b - zero_b). */
typedef struct {
  int32_t zero_a, zero_b;
  tfxp_requantizer requantizer;
} tfxp_product;

/* number * multiplier * 2^-31 * 2^-shift, rounded twice. */
typedef struct {
  int32_t multiplier, shift;
} tfxp_scale;

/* x = a - zero_a scaled by `above`, or x * (b - zero_b) by `below` if x is negative. */
typedef struct {
  int32_t zero_a, zero_b;
  tfxp_scale above, below;
  int32_t zero;
} tfxp_slopes;

/* Loops of a copy, outermost first: step i of an axis reads i * from further on, or at places[i],
 * and writes i * to further on. */
enum { TFXP_AXES = 6 };
typedef struct {
  int32_t rank;     /* axes in use */
  int32_t from, to; /* where the first step reads and writes */
  struct {
    int32_t size, from, to;
    const int32_t *places;
  } axes[TFXP_AXES];
} tfxp_moves;

/* For each output row (column) its two input rows (columns), and the weight of the second in
 * 1/2048. */
typedef struct {
  tfxp_image input, output;
  const int16_t *rows, *columns;
} tfxp_enlargement;

/* sums: one row of the output, width * channels; weights: one for every output channel. */
void tfxp_convolve(const tfxp_convolution *layer, const int8_t *input, int8_t *output,
                   int32_t *sums, int16_t *weights);
/* Input pixel p, tap t adds to output p * stride - pad + t. */
void tfxp_transpose_convolve(const tfxp_convolution *layer, const int8_t *input, int8_t *output,
                             int32_t *sums, int16_t *weights);
/* sums: one for every column of the right matrix. */
void tfxp_multiply_matrices(const tfxp_matrices *layer, const int8_t *left, const int8_t *right,
                            int8_t *output, int32_t *sums);

void tfxp_average_pool(const tfxp_pool *pool, const int8_t *input, int8_t *output);
void tfxp_max_pool(const tfxp_pool *pool, const int8_t *input, int8_t *output);

/* Reductions of an input of outer x count x inner codes to outer x inner. */
void tfxp_reduce_max(int32_t outer, int32_t count, int32_t inner, const int8_t *input,
                     int8_t *output);
void tfxp_reduce_min(int32_t outer, int32_t count, int32_t inner, const int8_t *input,
                     int8_t *output);
/* Code lowest + the number of steps that the sum of stored codes has reached. The steps rise. */
void tfxp_mean(int32_t outer, int32_t count, int32_t inner, int32_t step_count, int32_t lowest,
               const int32_t *steps, const int8_t *input, int8_t *output);
/* (sum - offset) * 2^-shift, ties up or to even, + zero. */
void tfxp_mean_by_shift(int32_t outer, int32_t count, int32_t inner, int32_t offset, int32_t shift,
                        int half_up, int32_t zero, const int8_t *input, int8_t *output);

/* On two tensors: the operand b is read again from its start every `period` elements. */
void tfxp_add(const tfxp_sum *sum, int32_t size, int32_t period, const int8_t *a, const int8_t *b,
              int8_t *output);
void tfxp_multiply(const tfxp_product *product, int32_t size, int32_t period, const int8_t *a,
                   const int8_t *b, int8_t *output);
void tfxp_prelu(const tfxp_slopes *slopes, int32_t size, int32_t period, const int8_t *a,
                const int8_t *b, int8_t *output);
void tfxp_maximum(int32_t size, int32_t period, const int8_t *a, const int8_t *b, int8_t *output);
void tfxp_minimum(int32_t size, int32_t period, const int8_t *a, const int8_t *b, int8_t *output);

/* A function of one code: its value for -128 comes first. */
void tfxp_look_up(const int8_t table[256], int32_t size, const int8_t *input, int8_t *output);
/* exponentials: float32 bit patterns of exp(-scale * d), d = 0 to 255. Codes are 256 p - 128. */
void tfxp_softmax(const uint32_t exponentials[256], int32_t rows, int32_t classes,
                  const int8_t *input, int8_t *output);
/* Each row over its length; codes are 128 times that. */
void tfxp_divide_by_length(int32_t rows, int32_t depth, int32_t zero, const int8_t *input,
                           int8_t *output);
/* Weighted mean of the four nearest pixels. */
void tfxp_resize_bilinear(const tfxp_enlargement *layer, const int8_t *input, int8_t *output);

void tfxp_copy(int32_t size, const int8_t *input, int8_t *output);
void tfxp_fill(int32_t size, int32_t code, int8_t *output);
void tfxp_move(const tfxp_moves *moves, const int8_t *input, int8_t *output);
/* Rows of a table; an index outside is taken to its nearest end. */
void tfxp_gather(int32_t rows, int32_t width, const int8_t *table, int32_t size,
                 const int32_t *indices, int8_t *output);

/* round(value * 2^-shift), ties to even; a negative shift multiplies, up to some 2^29. */
int32_t tfxp_round_half_even(int32_t value, int32_t shift);
/* The same with ties up: floor(value * 2^-shift + 1/2). */
int32_t tfxp_round_half_up(int32_t value, int32_t shift);
/* value * multiplier * 2^-31, halves up; then * 2^-shift, halves up or away from zero. */
int32_t tfxp_round_twice(int32_t value, int32_t multiplier, int32_t shift, int half_up);
/* Sums of pixels x channels, to as many codes. */
void tfxp_requantize(const tfxp_requantizer *to, int32_t pixels, int32_t channels,
                     const int32_t *sums, int8_t *output);
int8_t tfxp_clamp(int32_t code, int32_t low, int32_t high);
/* Expand `count` packed codes from number `first` on. */
void tfxp_unpack(tfxp_packed packed, uint32_t first, int32_t count, int16_t *codes);

#endif
