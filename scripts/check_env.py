"""Steps an environment as training would, and says of each rule whether it holds.

python scripts/check_env.py gymnasium:CartPole-v1
"""

from gpld.commands.check_env import main

if __name__ == "__main__":
    main()
