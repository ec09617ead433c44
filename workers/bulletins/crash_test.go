package bulletins_test

func workerProcess() {}
