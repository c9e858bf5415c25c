#include "tests/contract/kv_store_fixture.h"

namespace winnow {

WINNOW_KV_STORE_CONTRACT(Local, LocalStoreFixture);

}  // namespace winnow
