# Reads go test -v and prints what matters: packages, failures and skips with
# what they said, and at the end how many there were of each.

# tell prints the verdict on a test and what the test said, at once.
function tell() {
	print; printf "%s", said[$3]; delete said[$3]; fflush()
}

/^=== (RUN|CONT|NAME)/ { test = $3; next }
/^=== PAUSE/ { next }

/^ *--- PASS:/ { passed++; delete said[$3]; next }
/^ *--- FAIL:/ { failed++; tell(); next }
/^ *--- SKIP:/ { skipped++; tell(); next }

# The end of a package. One that died in the middle of a test says why there.
/^(ok|FAIL)[ \t]+[^ ]/ {
	if ($1 == "FAIL") { broken++; for (t in said) printf "%s", said[t] }
	split("", said); test = ""; print; fflush(); next
}
/^(PASS|FAIL)$/ { next }
/^\?? *\t.*\[no test files\]$/ { next }
/^e2e:/ { print; next }

test != "" { said[test] = said[test] $0 "\n"; next }
{ print }

END {
	if (broken && !failed) failed = broken # it did not build
	printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
}
