// One operator's arithmetic as a library for the host: compiled with -include <op>_operator.h -DTRB_OPERATOR=<Name>.
#include "abi.h"

TRB_EXPORT_HOST(trb::TRB_OPERATOR)
