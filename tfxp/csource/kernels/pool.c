/* Pools over windows. */
#include "tfxp_kernels.h"

typedef struct {
  int32_t first, last; /* input positions of a window, `last` excluded */
} range;

static range window(const tfxp_axis *axis, int32_t position, int32_t size) {
  range inside = {position * axis->stride - axis->pad, 0};
  inside.last = inside.first + axis->taps;
  inside.first = inside.first < 0 ? 0 : inside.first;
  inside.last = inside.last > size ? size : inside.last;
  return inside;
}

/* The mean of stored codes, halves away from zero; what lies outside the image does not count. */
static int32_t average(int32_t sum, int32_t count) {
  const int32_t size = sum < 0 ? -sum : sum;
  const int32_t mean = (size + count / 2) / count;
  return sum < 0 ? -mean : mean;
}

static int8_t pooled(const tfxp_pool *pool, const int8_t *input, range rows, range columns,
                     int32_t channel, int takes_largest) {
  int32_t sum = 0, largest = INT8_MIN;
  for (int32_t y = rows.first; y < rows.last; ++y) {
    for (int32_t x = columns.first; x < columns.last; ++x) {
      const int32_t code = input[(y * pool->input.width + x) * pool->input.channels + channel];
      sum += code;
      largest = code > largest ? code : largest;
    }
  }
  const int32_t count = (rows.last - rows.first) * (columns.last - columns.first);
  const int32_t code = takes_largest ? largest : average(sum, count);
  return tfxp_clamp(code, pool->low, pool->high);
}

static void run(const tfxp_pool *pool, const int8_t *input, int8_t *output, int takes_largest) {
  for (int32_t y = 0; y < pool->output.height; ++y) {
    const range rows = window(&pool->rows, y, pool->input.height);
    for (int32_t x = 0; x < pool->output.width; ++x) {
      const range columns = window(&pool->columns, x, pool->input.width);
      for (int32_t c = 0; c < pool->output.channels; ++c) {
        *output++ = pooled(pool, input, rows, columns, c, takes_largest);
      }
    }
  }
}

void tfxp_average_pool(const tfxp_pool *pool, const int8_t *input, int8_t *output) {
  run(pool, input, output, 0);
}

void tfxp_max_pool(const tfxp_pool *pool, const int8_t *input, int8_t *output) {
  run(pool, input, output, 1);
}
