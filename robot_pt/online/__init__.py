"""Improving on the job: actors append episodes to stores, a learner follows the stores and publishes policies, and so on.

    actor ── episode ──> DemoStore ── StoreFollower ──> OnlineReplay ── agent.update ──> Publisher ──> RUN/serving.json ──> actor

Actors and learner share files and nothing else: either may be killed, restarted or moved to another machine at any time.

    RUN/arrivals.jsonl       every episode that joined the replay, and after how many updates: the order of learning
    RUN/checkpoints/         the learner's own state (robot_pt.checkpoint)
    RUN/versions/000012/     a policy that passed its checks
    RUN/serving.json         which of them actors and robots take next
    RUN/publications.jsonl   every candidate and what its check said
    RUN/heartbeats/*.json    who lives, what it does, with which version
    RUN/episodes/actor_0/    DemoStore of one actor
"""
