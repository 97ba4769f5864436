// The core's tests. Every test case draws from the same seed, whatever ran before it: a failure repeats. The nightly
// run gives DIFFMINE_TEST_SEED another number each time.
#define DOCTEST_CONFIG_IMPLEMENT
#include <ATen/Context.h>
#include <doctest/doctest.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "tests/support.h"

namespace {

class Seeds : public doctest::IReporter {
 public:
  explicit Seeds(const doctest::ContextOptions& options) : out_(*options.cout) {}
  void test_case_start(const doctest::TestCaseData&) override { at::manual_seed(diffmine::test::seed()); }
  void test_case_reenter(const doctest::TestCaseData& test) override { test_case_start(test); }
  void test_case_end(const doctest::CurrentTestCaseStats& test) override {
    if (!test.testCaseSuccess) out_ << "ERROR: repeat it with DIFFMINE_TEST_SEED=" << diffmine::test::seed() << "\n\n";
  }
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}

 private:
  std::ostream& out_;
};
REGISTER_LISTENER("seeds", 1, Seeds);

}  // namespace

int main(int argc, char** argv) {
#ifdef __GLIBC__
  // Reference computations allocate large tensors over and over: without this a third of the time goes into pages that
  // are given back and faulted in again.
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TOP_PAD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
  return doctest::Context(argc, argv).run();
}
