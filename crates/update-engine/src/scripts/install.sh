# Runs the app's own install command in the repository.

cd -- "$repo" 2>/dev/null || fail no_repo "there is no folder $repo that the user can enter"
# The lock stays with the process that keeps the time, for as long as the command runs. What the command leaves behind on
# purpose (a build daemon) does not get it: the host would be busy until that ends.
capture "$limit" sh -c "exec 9>&-$newline$install"
exit $?
