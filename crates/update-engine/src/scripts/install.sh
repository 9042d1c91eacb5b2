# Runs the app's own install command in the repository.

cd -- "$repo" 2>/dev/null || fail no_repo "there is no folder $repo that the user can enter"
capture "$limit" sh -c "$install"
exit $?
