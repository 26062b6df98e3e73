"""C++ that all generated training code begins with: sums over lanes, images and features turned into lanes and back."""

HELPERS = r"""
typedef int ints __attribute__((vector_size(LANES * 4)));
typedef float loose __attribute__((vector_size(LANES * 4), aligned(4)));

static inline float total(vec a) { float sum = 0.f; for (int lane = 0; lane < LANES; lane++) sum += a[lane]; return sum; }
// Write the first `left` of a vector's numbers, anywhere.
static inline void put(float* to, vec a, int left) {
  if (left >= LANES) { *(loose*)to = a; return; }
  for (int lane = 0; lane < left; lane++) to[lane] = a[lane];
}
// Exchange rows and columns.
static inline void transpose(vec* rows) {
  #pragma GCC unroll 8
  for (int step = LANES / 2; step; step /= 2) {
    ints low, high;
    for (int lane = 0; lane < LANES; lane++) {
      low[lane] = lane & step ? LANES + lane - step : lane;
      high[lane] = lane & step ? LANES + lane : lane + step;
    }
    #pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
      if (!(i & step)) {
        const vec a = rows[i], b = rows[i + step];
        rows[i] = SHUFFLE(a, b, low);
        rows[i + step] = SHUFFLE(a, b, high);
      }
  }
}
// Turn LANES features of LANES images (`left` of them there) into images of features, `stride` apart.
static inline void turn(const float* from, int left, float* to, ptrdiff_t stride) {
  vec rows[LANES];
  for (int i = 0; i < LANES; i++) rows[i] = i < left ? load(from + i * LANES) : all(0.f);
  transpose(rows);
  for (int i = 0; i < LANES; i++) store(to + i * stride, rows[i]);
}
// Lay `left` pixels of LANES images (`there` of them there), `stride` apart, out with the images innermost.
static inline void lay(const float* from, int left, int there, ptrdiff_t stride, float* to) {
  vec rows[LANES];
  for (int i = 0; i < LANES; i++) {
    rows[i] = all(0.f);
    if (i < there) {
      if (left >= LANES) rows[i] = *(const loose*)(from + i * stride);
      else for (int k = 0; k < left; k++) rows[i][k] = from[i * stride + k];
    }
  }
  transpose(rows);
  for (int i = 0; i < LANES && i < left; i++) store(to + i * LANES, rows[i]);
}
"""
SHUFFLE = r"""
#if defined(__clang__)
static inline vec SHUFFLE(vec a, vec b, ints m) {
  vec r;
  for (int lane = 0; lane < LANES; lane++) r[lane] = m[lane] < LANES ? a[m[lane]] : b[m[lane] - LANES];
  return r;
}
#else
#define SHUFFLE __builtin_shuffle
#endif
"""
